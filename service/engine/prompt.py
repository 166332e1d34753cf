"""Small work for a quick model, with as little around it as can be: no admission, no items, no settling.

A batch is whatever one turn of the event loop has read, and is decoded and run on the loop at the end of the turn, for
no longer than a slice. This divides nothing, drops nothing and refuses nothing: who puts images here keeps what waits
small, and submits to the engine what gets no result.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.engine.images import DecodeLimits, ImageError, Pixels
from service.engine.inline import LONGEST_SLICE_S, slice_s
from service.engine.inputs import is_small, read_image
from service.engine.model import Model
from service.engine.results import Floats
from service.engine.ticket import Post, Timings

__all__ = ["Prompt", "PromptResult"]


@dataclass(frozen=True, eq=False, slots=True)
class PromptResult:
    """What became of an image, or of a block of them.

    Attributes:
        means: The embeddings, of shape [N, D].
        timings: Decoding and inference are those of the batch.
    """

    means: Floats
    timings: Timings


@dataclass(eq=False, slots=True)
class _Waiting:
    images: bytes | Pixels
    count: int
    tell: Callable[[PromptResult | None], None]
    since: float = field(default_factory=time.perf_counter)


class Prompt:
    """The images of one event loop, to be used in its thread.

    Args:
        model: On the CPU, and warm.
        limits: What one image may cost.
        max_batch: The most images of one run.
        on_batch: Called after each run, with its number of images and its seconds.
    """

    def __init__(
        self, model: Model, limits: DecodeLimits, max_batch: int, on_batch: Callable[[int, float], None]
    ) -> None:
        self._model, self._limits, self._max_batch, self._on_batch = model, limits, max_batch, on_batch
        self._waiting: deque[_Waiting] = deque()
        self._images = 0
        self._due_at = 0.0
        self._cost_s = model.lone_s()

    @property
    def cost_s(self) -> float:
        """Seconds that an image takes, of late; before the first, the least that one took that was run alone."""
        return self._cost_s

    @property
    def wait_s(self) -> float:
        """Seconds until what waits should be done."""
        return self._images * self._cost_s

    def takes(self, images: bytes | Pixels) -> bool:
        """Whether it is one image that `is_small`, or a block of the model's shape that a slice has time for."""
        if isinstance(images, bytes):
            return is_small(images)
        fits = images.shape[1:] == self._model.manifest.input.shape and 0 < len(images) <= self._max_batch
        return fits and len(images) * self._cost_s <= LONGEST_SLICE_S

    def put(self, images: bytes | Pixels, tell: Callable[[PromptResult | None], None], soon: Post) -> None:
        """Has an image embedded, or a block.

        Args:
            images: What this `takes`: one, encoded, or pixels of shape [N, H, W, C].
            tell: Called on the event loop with the result; with None if there is none, for whatever reason.
            soon: Runs a function on the event loop after what is due there, as `loop.call_soon` does.
        """
        waiting = _Waiting(images, 1 if isinstance(images, bytes) else len(images), tell)
        if not self._waiting:
            self._due_at = waiting.since
            soon(lambda: self._run(soon))
        self._waiting.append(waiting)
        self._images += waiting.count

    def _run(self, soon: Post) -> None:
        start = time.perf_counter()
        batch = self._take(int(slice_s(start - self._due_at) / self._cost_s))
        try:
            results = self._embed(batch, start)
        except Exception:
            # Not logged: what is wrong comes to light, with its name, where the images are submitted one by one.
            results = [None] * len(batch)
        if self._waiting:
            self._due_at = time.perf_counter()
            soon(lambda: self._run(soon))
        for each, result in zip(batch, results, strict=True):
            each.tell(result)

    def _take(self, most: int) -> list[_Waiting]:
        """The first that wait, and all behind it that a batch of so many images has room for."""
        batch = [self._waiting.popleft()]
        count, most = batch[0].count, min(most, self._max_batch)
        while self._waiting and count + self._waiting[0].count <= most:
            batch.append(self._waiting.popleft())
            count += batch[-1].count
        self._images -= count
        return batch

    def _embed(self, batch: Sequence[_Waiting], start: float) -> list[PromptResult | None]:
        spec = self._model.manifest.input
        pixels = np.empty((sum(each.count for each in batch), *spec.shape), np.uint8)
        ends, end = [0], 0
        for each in batch:
            try:
                if isinstance(each.images, bytes):
                    pixels[end] = read_image(each.images, spec, self._limits, len(each.images))
                else:
                    pixels[end : end + each.count] = each.images
                end += each.count
            except ImageError:
                pass
            ends.append(end)
        if not end:
            return [None] * len(batch)
        decoded_at = time.perf_counter()
        means = self._model.encode(pixels[:end]).mean
        now = time.perf_counter()
        self._cost_s = 0.9 * self._cost_s + 0.1 * (now - start) / end
        self._on_batch(end, now - decoded_at)
        return [
            PromptResult(means[first:last], Timings(decoded_at - start, start - each.since, now - decoded_at))
            if last > first
            else None
            for each, first, last in zip(batch, ends, ends[1:], strict=False)
        ]
