"""A model that takes images and gives embeddings, reconstructions and similarities; needs no server.

with Engine.load(Path("models/fashion/1")) as engine:
    embeddings = engine.embed([Path("shoe.jpg"), png_bytes, pixels])
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from service.engine import similarity
from service.engine.bundle import Manifest, Precision
from service.engine.errors import EngineError
from service.engine.images import ImageError, Pixels
from service.engine.inputs import ImageInput
from service.engine.model import Model
from service.engine.priority import PRIORITIES, Priority
from service.engine.providers import GpuOptions
from service.engine.results import Embedding, Embeddings, Floats, Reconstruction
from service.engine.runtime import Runtime
from service.engine.statistics import Statistics
from service.engine.tasks import TASKS, Task, task_lanes
from service.engine.ticket import Post, Ticket, Timings
from service.engine.work import work_of

__all__ = [
    "Embedding",
    "Embeddings",
    "Engine",
    "GpuOptions",
    "ImageInput",
    "Priority",
    "Reconstruction",
    "Task",
    "Ticket",
    "Timings",
]


class Engine:
    """One loaded model and the runtime that feeds it; safe to use from any thread."""

    def __init__(self, model: Model, runtime: Runtime | None = None) -> None:
        self.model = model
        self.runtime = runtime or Runtime()
        self._owns_runtime = runtime is None
        self.statistics = {task: Statistics() for task in TASKS}
        lanes = functools.partial(task_lanes, model, self.runtime.max_batch, statistics=self.statistics)
        self._lanes = {priority: lanes(priority) for priority in PRIORITIES}

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        precision: Precision = "float32",
        threads: int | None = None,
        threads_alone: int | None = None,
        runtime: Runtime | None = None,
        gpu: GpuOptions | None = None,
    ) -> "Engine":
        """Loads a bundle, checks it against its golden outputs and warms it up.

        Args:
            path: The directory that holds `manifest.json`.
            device: `auto`, `cpu`, `cuda`, `cuda:N`, `cuda:N,M` for several GPUs, or the same with `tensorrt`.
            precision: Of the encoder; the bundle must have it.
            threads: Of a run on the CPU beside others; None takes an equal part of the usable CPUs.
            threads_alone: Of a run of one image when nothing else runs; None takes all usable CPUs.
            runtime: Shared by several engines, which then share its queue and its limits; None makes one that
                `close` ends.
            gpu: Of the device, if it is one; None takes the defaults.

        Raises:
            BundleError: The bundle is incomplete, changed, or does not give its golden outputs here.
            DeviceError: The device is not there.
        """
        model = Model.load(
            path, device=device, threads=threads, threads_alone=threads_alone, precision=precision, gpu=gpu
        )
        engine = cls(model, runtime)
        try:
            engine._warm_up()
        except BaseException:
            engine.close()
            raise
        return engine

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.model.manifest

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever something that changes a vector does."""
        return self.model.fingerprint

    def embed(self, images: Sequence[ImageInput], *, priority: Priority = "interactive") -> Embeddings:
        """Embeds any number of images, waiting for room in the queue.

        Args:
            images: The items.
            priority: `bulk` lets others go first that use the same runtime.

        Returns:
            Mean and variance of shape [N, D], in the order given; [0, D] for none.

        Raises:
            ImageError: Of the first bad image; the message names its index.
            EngineError: The engine is closed, or the model failed.
        """
        outcomes: list[Embedding] = self._wait(images, "embed", priority)
        return Embeddings.stack(outcomes, self.manifest.embedding.dim)

    def reconstruct(self, images: Sequence[ImageInput], *, priority: Priority = "interactive") -> list[Reconstruction]:
        """Decodes the embeddings of any number of images back to pixels; arguments and errors are those of `embed`."""
        return self._wait(images, "reconstruct", priority)

    def decode(self, latents: Floats, *, priority: Priority = "interactive") -> Pixels:
        """The images of any number of latents, embeddings or others: uint8 [N, H, W, C] for float32 [N, D].

        Raises:
            ValueError: Another dtype or shape, or values that are not finite.
            EngineError: The engine is closed, or the model failed.
        """
        images = self._wait(list(latents), "decode", priority)
        return np.array(images, np.uint8).reshape(-1, *self.manifest.input.shape)

    def similarity(
        self,
        left: Sequence[ImageInput] | Embeddings,
        right: Sequence[ImageInput] | Embeddings,
        metrics: Sequence[str],
        *,
        pairs: bool = False,
        prior: float = 0.5,
    ) -> dict[str, NDArray[np.float64]]:
        """Compares images, or embeddings that are there already; see `service.engine.similarity.compare`.

        Raises:
            SimilarityError: A metric that this model does not define, or sides that do not fit each other.
            ImageError: Of the first bad image.
        """
        a, b = (side if isinstance(side, Embeddings) else self.embed(side) for side in (left, right))
        return similarity.compare(a, b, self.manifest.embedding, metrics, pairs=pairs, prior=prior)

    @overload
    def submit(
        self,
        items: Sequence[ImageInput],
        task: Literal["embed"],
        *,
        priority: Priority = "interactive",
        deadline_s: float | None = None,
        post: Post | None = None,
        soon: Post | None = None,
    ) -> Ticket[Embedding]: ...

    @overload
    def submit(
        self,
        items: Sequence[ImageInput],
        task: Literal["reconstruct"],
        *,
        priority: Priority = "interactive",
        deadline_s: float | None = None,
        post: Post | None = None,
        soon: Post | None = None,
    ) -> Ticket[Reconstruction]: ...

    @overload
    def submit(
        self,
        items: Sequence[Floats],
        task: Literal["decode"],
        *,
        priority: Priority = "interactive",
        deadline_s: float | None = None,
        post: Post | None = None,
        soon: Post | None = None,
    ) -> Ticket[Pixels]: ...

    def submit(
        self,
        items: Sequence[ImageInput] | Sequence[Floats],
        task: Task,
        *,
        priority: Priority = "interactive",
        deadline_s: float | None = None,
        post: Post | None = None,
        soon: Post | None = None,
    ) -> Ticket[Any]:
        """Starts work on a request without waiting: all of it is admitted, or none.

        Args:
            items: Images, or latents of shape [D] to decode; arrays must not change before they are done.
            task: What to do with each.
            priority: What is interactive goes before what is bulk, and may use room that bulk may not.
            deadline_s: Seconds from now after which items that no batch has started are dropped.
            post: Runs a function where the result is awaited, as `loop.call_soon_threadsafe` does, once for all
                tickets that a batch finishes; None sets futures in the engine's own threads.
            soon: Runs a function in the calling thread after what is due there, as `loop.call_soon` does; small work
                may then be done there. None has all of it done in the engine's own threads.

        Raises:
            QueueFullError: No room now, or too much before it for its deadline.
            RequestTooLargeError: More than the queue can ever hold.
            NotReadyError: Draining, closed or dead.
        """
        work = work_of(items, task, self.manifest, self.runtime)
        ticket: Ticket[Any] = Ticket(len(work), deadline_s=deadline_s, post=post, soon=soon)
        self.runtime.submit(ticket, work, self._lanes[priority][task], self.model.device)
        return ticket

    def close(self) -> None:
        """Ends the runtime, if this engine made it."""
        if self._owns_runtime:
            self.runtime.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm_up(self) -> None:
        max_batch = self.runtime.max_batch
        if self.model.device == "cpu":
            self.model.warm_up(max_batch)
        else:  # where it will run: what is recorded for a GPU belongs to a thread
            self.runtime.on_each_thread(self.model.device, functools.partial(self.model.warm_up, max_batch))

    def _wait(self, items: Sequence[Any], task: Task, priority: Priority) -> list[Any]:
        work = work_of(items, task, self.manifest, self.runtime)
        ticket: Ticket[Any] = Ticket(len(work))
        self.runtime.submit(ticket, work, self._lanes[priority][task], self.model.device, wait=True)
        outcomes = ticket.future.result()
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, ImageError | EngineError):
                raise type(outcome)(f"Image {index}: {outcome}") from outcome
        return outcomes
