"""The graphs of one bundle on one device: pixels to latents and back. Knows no queue and no image formats."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.engine import cpu
from service.engine.bundle import Bundle, BundleError, Manifest, Precision, read_bundle
from service.engine.device import Sessions, open_sessions
from service.engine.errors import InferenceError
from service.engine.images import Pixels
from service.engine.results import Embeddings, Floats, Reconstructions

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Model"]

_LATENT_TOLERANCE = 1e-3
_GREY_TOLERANCE = 2.0

Ports = dict[str, tuple[str, tuple[int, ...]]]
"""Inputs or outputs of a graph: name to type and shape, without the batch axis."""


class Model:
    """A bundle that was read, opened and found to give its golden outputs; safe to use from any thread.

    Attributes:
        manifest: What the bundle says of itself.
        fingerprint: Changes whenever something that changes a vector does.
        precision: Of the encoder.
        device: `cpu` or `cuda:N`.
        provider: What ONNX Runtime calls the device.
    """

    def __init__(self, bundle: Bundle, precision: Precision, sessions: Sessions, alone: Sessions | None = None) -> None:
        self.manifest: Manifest = bundle.manifest
        self.fingerprint = bundle.manifest.fingerprint(precision)
        self.precision = precision
        self.device, self.provider = sessions.device, sessions.provider
        self._encoder, self._decoder = sessions.graphs
        self._encoder_alone = self._encoder if alone is None else alone.graphs[0]
        # On a GPU every new batch size is planned anew, so batches are padded to a few sizes; a CPU gains nothing.
        self._pads = self.device != "cpu"

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        threads_alone: int | None = None,
        precision: Precision = "float32",
    ) -> "Model":
        """Reads a bundle, opens its graphs and compares them with the manifest and the golden outputs.

        Args:
            path: The directory that holds `manifest.json`.
            device: See `open_sessions`.
            threads: See `open_sessions`.
            threads_alone: The same for a lone image when nothing else runs; None takes all usable CPUs.
            precision: Of the encoder; the bundle must have it.

        Raises:
            BundleError: The files are not the bundle the manifest describes, or give other outputs here.
            DeviceError: The device cannot be had.
        """
        bundle = read_bundle(path)
        graph = bundle.manifest.encoder(precision)
        encoder, decoder = bundle.file(graph), bundle.file(bundle.manifest.decoder)
        sessions = open_sessions((encoder, decoder), device, threads)
        pixels = ("tensor(uint8)", bundle.manifest.input.shape)
        latents = ("tensor(float)", (bundle.manifest.embedding.dim,))
        _check_ports(encoder, sessions.graphs[0], {"images": pixels}, {"mean": latents, "log_variance": latents})
        _check_ports(decoder, sessions.graphs[1], {"latents": latents}, {"images": pixels})
        model = cls(bundle, precision, sessions, _open_for_one(encoder, sessions, threads, threads_alone))
        own = 0.0 if graph.versus_float32 is None else graph.versus_float32.tolerance
        model._check_golden(bundle, encoder, decoder, max(_LATENT_TOLERANCE, own))
        return model

    def encode(self, images: Pixels, *, alone: bool = False) -> Embeddings:
        """The posteriors of images.

        Args:
            images: uint8 of shape [N, H, W, C], as the manifest's input says.
            alone: Whether nothing else runs, so that every CPU may serve this.

        Returns:
            N embeddings.

        Raises:
            ValueError: Another dtype or shape.
            InferenceError: The graph gave something that is not a finite number.
        """
        mean, log_variance = self._encode(images, self._encoder_alone if alone else self._encoder)
        with np.errstate(over="ignore"):  # to infinity, and refused with it
            variance = np.exp(log_variance)
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise InferenceError("The model gives no finite embedding for this image.")
        return Embeddings(mean, variance)

    def decode(self, latents: Floats) -> Pixels:
        """The images of latents: uint8 of shape [N, H, W, C] for float32 of shape [N, D].

        Raises:
            ValueError: Another dtype or shape.
        """
        _check_input("latents", latents, np.float32, (self.manifest.embedding.dim,))
        if not len(latents):
            return np.empty((0, *self.manifest.input.shape), np.uint8)
        pixels: Pixels = self._run(self._decoder, ["images"], "latents", latents)[0]
        return pixels

    def reconstruct(self, images: Pixels) -> Reconstructions:
        """Encodes images and decodes their posterior means; arguments and errors are those of `encode`."""
        embeddings = self.encode(images)
        decoded = self.decode(embeddings.mean)
        difference = images.astype(np.int32) - decoded
        squared_error = np.square(difference).mean(axis=(1, 2, 3)) / 255**2
        return Reconstructions(embeddings, decoded, squared_error.astype(np.float32))

    def warm_up(self, max_batch: int) -> None:
        """Runs both graphs once with every batch size they will see (on the CPU the largest stands for all)."""
        sizes = [1 << power for power in range(_bucket(max_batch).bit_length())] if self._pads else [max_batch]
        for size in sizes:
            self.reconstruct(np.zeros((size, *self.manifest.input.shape), np.uint8))
        self.encode(np.zeros((1, *self.manifest.input.shape), np.uint8), alone=True)

    def _encode(self, images: Pixels, session: "InferenceSession") -> tuple[Floats, Floats]:
        _check_input("images", images, np.uint8, self.manifest.input.shape)
        if not len(images):
            empty = np.empty((0, self.manifest.embedding.dim), np.float32)
            return empty, empty.copy()
        mean, log_variance = self._run(session, ["mean", "log_variance"], "images", images)
        return mean, log_variance

    def _run(self, session: "InferenceSession", outputs: list[str], name: str, batch: NDArray[Any]) -> list[Any]:
        size = len(batch)
        if self._pads and _bucket(size) != size:
            batch = np.concatenate([batch, np.zeros((_bucket(size) - size, *batch.shape[1:]), batch.dtype)])
        return [output[:size] for output in session.run(outputs, {name: batch})]

    def _check_golden(self, bundle: Bundle, encoder: Path, decoder: Path, tolerance: float) -> None:
        golden = bundle.golden(self.precision)
        try:
            mean, log_variance = self._encode(golden.images, self._encoder)
            pixels = self.decode(golden.mean).astype(np.float32)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(f"{bundle.path}: expected golden outputs, but a graph fails: {error}") from error
        for file, output, wanted, found, most in (
            (encoder, "mean", golden.mean, mean, tolerance),
            (encoder, "log_variance", golden.log_variance, log_variance, tolerance),
            (decoder, "images", golden.decoded.astype(np.float32), pixels, _GREY_TOLERANCE),
        ):
            difference = float(np.abs(wanted - found).max())
            if not difference <= most:  # also when it is not a number
                raise BundleError(
                    f"{file}: expected golden {output} within {most:g} on {self.device}, found a difference of "
                    f"{difference:g}; the model would give other vectors here than where it was exported."
                )


def _open_for_one(encoder: Path, sessions: Sessions, threads: int | None, threads_alone: int | None) -> Sessions | None:
    """The encoder with more threads for a lone image; None where it would have no more than others.

    A session's threads are fixed, so this is a second one. Its threads sleep while others run.
    """
    cpus = cpu.usable_cpus()
    wanted = threads_alone or cpus
    if sessions.device != "cpu" or wanted <= (threads or cpu.inference_threads(cpus)):
        return None
    return open_sessions((encoder,), "cpu", wanted)


def _bucket(size: int) -> int:
    """The power of two that holds `size` items."""
    return 1 << (size - 1).bit_length()


def _check_input(name: str, batch: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if batch.dtype != dtype or batch.shape[1:] != shape or batch.ndim != len(shape) + 1:
        raise ValueError(
            f"Expected {name} of {np.dtype(dtype)} and shape {['N', *shape]}; "
            f"found {batch.dtype} and {list(batch.shape)}."
        )


def _check_ports(file: Path, session: "InferenceSession", inputs: Ports, outputs: Ports) -> None:
    for what, expected, nodes in (
        ("inputs", inputs, session.get_inputs()),
        ("outputs", outputs, session.get_outputs()),
    ):
        found = {node.name: (node.type, tuple(node.shape[1:])) for node in nodes}
        if found != expected:
            raise BundleError(f"{file}: expected {what} {_describe(expected)}, found {_describe(found)}.")
        for node in nodes:
            if isinstance(node.shape[0], int):
                raise BundleError(f"{file}: expected any batch size in {node.name}, found {node.shape[0]} fixed.")


def _describe(ports: Ports) -> str:
    return ", ".join(f"{name} {kind}{['N', *shape]}" for name, (kind, shape) in ports.items())
