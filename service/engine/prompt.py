"""Small work for a quick model, with as little around it as can be: no admission, no items, no settling.

A batch is whatever one turn of the event loop has read, and is decoded and run on the loop at the end of the turn, for
no longer than a slice. This divides nothing, drops nothing and refuses nothing: who puts images here keeps what waits
small, and submits to the engine what gets no result.
"""

import itertools
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
from service.engine.statistics import Statistics
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
        statistics: Told of every request that succeeded and of every run.
        on_batch: Called after each run, with its number of images and its seconds.
    """

    def __init__(
        self,
        model: Model,
        limits: DecodeLimits,
        max_batch: int,
        statistics: Statistics,
        on_batch: Callable[[int, float], None],
    ) -> None:
        self._model, self._limits, self._max_batch = model, limits, max_batch
        self._statistics, self._on_batch = statistics, on_batch
        self._spec = model.manifest.input
        self._takes_blocks = self._spec.height * self._spec.width <= limits.max_pixels
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
        fits = images.shape[1:] == self._spec.shape and 0 < len(images) <= self._max_batch
        return fits and self._takes_blocks and len(images) * self._cost_s <= LONGEST_SLICE_S

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
        count = sum(each.count for each in batch)
        pixels = np.empty((count, *self._spec.shape), np.uint8)
        ends = [0]
        for each in batch:
            ends.append(ends[-1] + self._read(each, pixels[ends[-1] :]))
        results: list[PromptResult | None] = [None] * len(batch)
        if ends[-1]:
            decoded_at = time.perf_counter()
            means = self._model.encode(pixels[: ends[-1]]).mean
            now = time.perf_counter()
            self._statistics.batch(ends[-1], now - decoded_at)
            self._on_batch(ends[-1], now - decoded_at)
            for place, (first, last) in enumerate(itertools.pairwise(ends)):
                if last > first:
                    since = batch[place].since
                    timings = Timings(decoded_at - start, start - since, now - decoded_at)
                    self._statistics.success(now - since, timings)
                    results[place] = PromptResult(means[first:last], timings)
        self._cost_s = 0.9 * self._cost_s + 0.1 * (time.perf_counter() - start) / count
        return results

    def _read(self, waiting: _Waiting, pixels: Pixels) -> int:
        """Writes the images to the front of the pixels, and returns how many there are: none if it is a bad one."""
        images = waiting.images
        if not isinstance(images, bytes):
            pixels[: waiting.count] = images
            return waiting.count
        try:
            pixels[0] = read_image(images, self._spec, self._limits, len(images))
        except ImageError:  # which its sender is told the long way
            return 0
        return 1
