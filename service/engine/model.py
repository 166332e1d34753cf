"""The graphs of one bundle on one device: pixels to latents and back. Knows no queue and no image formats."""

import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import cpu
from service.engine.bundle import Bundle, BundleError, Manifest, Precision, read_bundle
from service.engine.device import Sessions, open_sessions
from service.engine.errors import DeviceError, InferenceError
from service.engine.graph import DeviceGraph, Graph, HostGraph
from service.engine.images import Pixels
from service.engine.ports import check_ports
from service.engine.providers import GpuOptions
from service.engine.results import Embeddings, Floats, Reconstructions

__all__ = ["Model", "Replica"]

_LATENT_TOLERANCE = 1e-3
_GREY_TOLERANCE = 2.0
_TRIALS, _LONG_TRIAL_S = 5, 0.2
_LATENTS, _IMAGES = ("mean", "log_variance"), ("images",)


@dataclass(frozen=True)
class Replica:
    """Both graphs, on the CPU or on one GPU."""

    encoder: Graph
    decoder: Graph


class Model:
    """A bundle that was read, opened and found to give its golden outputs; safe to use from any thread.

    Attributes:
        manifest: What the bundle says of itself.
        fingerprint: Changes whenever something that changes a vector does.
        precision: Of the encoder.
        device: `cpu`, or `cuda` or `tensorrt` with the numbers of its GPUs, as `cuda:0` or `cuda:0,1`.
        provider: What ONNX Runtime calls the device.
        replicas: Of its graphs: one for the CPU, or one for each GPU in order.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision,
        sessions: Sessions,
        *,
        cuda_graphs: bool = False,
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.fingerprint = bundle.manifest.fingerprint(precision)
        self.precision = precision
        self.device, self.provider = str(sessions.place), sessions.provider
        self.replicas = _replicas(sessions, cuda_graphs=cuda_graphs)
        self._alone: Graph | None = None
        self._of_thread = threading.local()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        threads_alone: int | None = None,
        precision: Precision = "float32",
        gpu: GpuOptions | None = None,
    ) -> "Model":
        """Reads a bundle, opens its graphs and compares them with the manifest and the golden outputs.

        Args:
            path: The directory that holds `manifest.json`.
            device: See `open_sessions`.
            threads: See `open_sessions`.
            threads_alone: The same for a lone image when nothing else runs; None takes all usable CPUs.
            precision: Of the encoder; the bundle must have it.
            gpu: Of the device, if it is one; None takes the defaults.

        Raises:
            BundleError: The files are not the bundle the manifest describes, or give other outputs here.
            DeviceError: The device cannot be had.
        """
        bundle = read_bundle(path)
        graph = bundle.manifest.encoder(precision)
        encoder, decoder = bundle.file(graph), bundle.file(bundle.manifest.decoder)
        gpu, half = gpu or GpuOptions(), (encoder,) if precision == "float16" else ()
        sessions = open_sessions((encoder, decoder), device, threads, gpu, half)
        pixels = ("tensor(uint8)", bundle.manifest.input.shape)
        latents = ("tensor(float)", (bundle.manifest.embedding.dim,))
        for each in sessions.replicas:
            check_ports(encoder, each[0], {"images": pixels}, {"mean": latents, "log_variance": latents})
            check_ports(decoder, each[1], {"latents": latents}, {"images": pixels})
        model = cls(bundle, precision, sessions, cuda_graphs=gpu.cuda_graphs)
        own = 0.0 if graph.versus_float32 is None else graph.versus_float32.tolerance
        for replica in model.replicas:
            model._check_golden(replica, bundle, encoder, decoder, max(_LATENT_TOLERANCE, own))
        model._alone = model._open_for_one(encoder, threads, threads_alone)
        return model

    def lone_s(self) -> float:
        """Seconds that one image takes by itself, on the threads that all share; the least of a few runs."""
        image = np.zeros((1, *self.manifest.input.shape), np.uint8)
        least, all_s = math.inf, 0.0
        for _ in range(_TRIALS):
            start = time.perf_counter()
            self.encode(image)
            run_s = time.perf_counter() - start
            least, all_s = min(least, run_s), all_s + run_s
            if all_s > _LONG_TRIAL_S:
                break
        return least

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
        mean, log_variance = self._encode(images, self._alone if alone and self._alone else self._replica.encoder)
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
        return self._decode(latents, self._replica.decoder)

    def reconstruct(self, images: Pixels) -> Reconstructions:
        """Encodes images and decodes their posterior means; arguments and errors are those of `encode`."""
        embeddings = self.encode(images)
        decoded = self.decode(embeddings.mean)
        difference = images.astype(np.int32) - decoded
        squared_error = np.square(difference).mean(axis=(1, 2, 3)) / 255**2
        return Reconstructions(embeddings, decoded, squared_error.astype(np.float32))

    def warm_up(self, max_batch: int, replica: int = 0) -> None:
        """Runs both graphs with every batch size they will see, on the GPU that the calling thread uses from then on.

        Args:
            max_batch: The most items of a batch.
            replica: Which of the device's GPUs that is, counted from 0. Threads that never warmed up share the first.

        Raises:
            DeviceLostError: The GPU has failed.
        """
        chosen = self._of_thread.replica = self.replicas[replica]
        for graph in (chosen.encoder, chosen.decoder):
            graph.warm_up(max_batch)
        if self._alone:
            self._alone.warm_up(1)

    def _open_for_one(self, encoder: Path, threads: int | None, threads_alone: int | None) -> Graph | None:
        """The encoder with more threads for a lone image; None where it would have no more, or gain nothing by them.

        A session's threads are fixed, so this is a second one, with weights of its own. Its threads sleep while others
        run.
        """
        cpus = cpu.usable_cpus()
        wanted = threads_alone or cpus
        if self.device != "cpu" or wanted <= (threads or cpu.inference_threads(cpus)):
            return None
        if self.lone_s() < cpu.WORTH_DIVIDING_S:
            return None
        ((session,),) = open_sessions((encoder,), "cpu", wanted).replicas
        return HostGraph(session, _LATENTS)

    @property
    def _replica(self) -> Replica:
        found: Replica = getattr(self._of_thread, "replica", self.replicas[0])
        return found

    def _encode(self, images: Pixels, graph: Graph) -> tuple[Floats, Floats]:
        _check_input("images", images, np.uint8, self.manifest.input.shape)
        if not len(images):
            empty = np.empty((0, self.manifest.embedding.dim), np.float32)
            return empty, empty.copy()
        mean, log_variance = graph.run(images)
        return mean, log_variance

    def _decode(self, latents: Floats, graph: Graph) -> Pixels:
        _check_input("latents", latents, np.float32, (self.manifest.embedding.dim,))
        if not len(latents):
            return np.empty((0, *self.manifest.input.shape), np.uint8)
        pixels: Pixels = graph.run(latents)[0]
        return pixels

    def _check_golden(self, replica: Replica, bundle: Bundle, encoder: Path, decoder: Path, tolerance: float) -> None:
        golden = bundle.golden(self.precision)
        try:
            mean, log_variance = self._encode(golden.images, replica.encoder)
            pixels = self._decode(golden.mean, replica.decoder).astype(np.float32)
        except DeviceError:
            raise
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


def _replicas(sessions: Sessions, *, cuda_graphs: bool) -> tuple[Replica, ...]:
    if not sessions.place.gpus:
        ((encoder, decoder),) = sessions.replicas
        return (Replica(HostGraph(encoder, _LATENTS), HostGraph(decoder, _IMAGES)),)
    return tuple(
        Replica(
            DeviceGraph(encoder, _LATENTS, gpu, cuda_graphs=cuda_graphs),
            DeviceGraph(decoder, _IMAGES, gpu, cuda_graphs=cuda_graphs),
        )
        for gpu, (encoder, decoder) in zip(sessions.place.gpus, sessions.replicas, strict=True)
    )


def _check_input(name: str, batch: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if batch.dtype != dtype or batch.shape[1:] != shape or batch.ndim != len(shape) + 1:
        raise ValueError(
            f"Expected {name} of {np.dtype(dtype)} and shape {['N', *shape]}; "
            f"found {batch.dtype} and {list(batch.shape)}."
        )
