"""The names a bundle is served by, and the tensors that go into and come out of each.

The protocol gives a model one list of inputs, all of them needed, so that each way to use a bundle is a model of its
own: `fashion` takes encoded images, `fashion_tensor` pixels, and `fashion_decoder` latents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from service.api.errors import UnknownModelError
from service.api.repository import Repository
from service.engine.engine import Engine, Task

__all__ = ["Datatype", "ServedModel", "TensorSpec", "find", "served", "versions"]

Datatype = Literal["BYTES", "UINT8", "FP32"]
_SUFFIXES = ("", "_tensor", "_decoder")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model.

    Attributes:
        name: As requests and answers name it.
        datatype: In the protocol's words; BYTES is an encoded image.
        shape: Of one item, without the axis of the batch.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """One use of one bundle.

    Attributes:
        name: That clients ask for.
        engine: Of the bundle.
        task: Of the engine.
        input: The only one.
        outputs: All that may be asked for.
    """

    name: str
    engine: Engine
    task: Task
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    @property
    def version(self) -> str:
        """As the protocol writes it."""
        return str(self.engine.manifest.version)


def find(repository: Repository, name: str, version: str | None) -> ServedModel:
    """The model of a name, in its newest version where none is asked for.

    A bundle whose own name ends like one of the uses goes before the use of another.

    Raises:
        NotReadyError: Nothing is loaded yet.
        UnknownModelError: No such name or version.
    """
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            bundle = name.removesuffix(suffix)
            try:
                engine = repository.get(bundle if version is None else f"{bundle}@{version}")
            except UnknownModelError:
                continue
            return _model(engine, suffix)
    wanted = f"{name[:100]!r}" if version is None else f"{name[:100]!r} of version {version[:20]!r}"
    there = ", ".join(f"{model.name} (version {model.version})" for model in served(repository))
    raise UnknownModelError(f"No model {wanted} is served; there is {there}.")


def served(repository: Repository) -> Iterator[ServedModel]:
    """Every use of every bundle that is loaded."""
    return (_model(engine, suffix) for engine in repository.engines for suffix in _SUFFIXES)


def versions(repository: Repository, model: ServedModel) -> list[str]:
    """Those in which a model may be asked for."""
    return [other.version for other in served(repository) if other.name == model.name]


def _model(engine: Engine, suffix: str) -> ServedModel:
    name, shape = f"{engine.manifest.name}{suffix}", (engine.manifest.embedding.dim,)
    pixels = TensorSpec("pixels", "UINT8", engine.manifest.input.shape)
    if suffix == "_decoder":
        return ServedModel(name, engine, "decode", TensorSpec("latent", "FP32", shape), (pixels,))
    # An axis of length 1 stands behind that of the batch wherever Triton batches strings, which have no shape.
    source = pixels if suffix == "_tensor" else TensorSpec("image", "BYTES", (1,))
    posterior = TensorSpec("embedding", "FP32", shape), TensorSpec("variance", "FP32", shape)
    return ServedModel(name, engine, "embed", source, posterior)
