"""Small images through a quick model, with as little around them as can be: no admission, no items, no settling.

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
from service.engine.inline import slice_s
from service.engine.inputs import read_image
from service.engine.model import Model
from service.engine.results import Floats
from service.engine.ticket import Post, Timings

__all__ = ["Prompt", "PromptResult"]


@dataclass(frozen=True, eq=False, slots=True)
class PromptResult:
    """What became of an image.

    Attributes:
        mean: Its embedding, of shape [D].
        timings: Decoding and inference are those of its batch.
    """

    mean: Floats
    timings: Timings


@dataclass(eq=False, slots=True)
class _Waiting:
    image: bytes
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
        self._due_at = 0.0
        self._cost_s = model.lone_s()

    @property
    def cost_s(self) -> float:
        """Seconds that an image takes, of late; before the first, the least that one took that was run alone."""
        return self._cost_s

    @property
    def wait_s(self) -> float:
        """Seconds until what waits should be done."""
        return len(self._waiting) * self._cost_s

    def put(self, image: bytes, tell: Callable[[PromptResult | None], None], soon: Post) -> None:
        """Has an image embedded.

        Args:
            image: Encoded; it `is_small`.
            tell: Called on the event loop with the result; with None if there is none, for whatever reason.
            soon: Runs a function on the event loop after what is due there, as `loop.call_soon` does.
        """
        waiting = _Waiting(image, tell)
        if not self._waiting:
            self._due_at = waiting.since
            soon(lambda: self._run(soon))
        self._waiting.append(waiting)

    def _run(self, soon: Post) -> None:
        start = time.perf_counter()
        most = min(self._max_batch, max(1, int(slice_s(start - self._due_at) / self._cost_s)))
        batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
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

    def _embed(self, batch: Sequence[_Waiting], start: float) -> list[PromptResult | None]:
        spec, pixels, places = self._model.manifest.input, list[Pixels](), list[int]()
        for place, each in enumerate(batch):
            try:
                pixels.append(read_image(each.image, spec, self._limits, len(each.image)))
            except ImageError:
                continue
            places.append(place)
        results: list[PromptResult | None] = [None] * len(batch)
        if not pixels:
            return results
        decoded_at = time.perf_counter()
        means = self._model.encode(np.stack(pixels)).mean
        now = time.perf_counter()
        self._cost_s = 0.9 * self._cost_s + 0.1 * (now - start) / len(batch)
        self._on_batch(len(pixels), now - decoded_at)
        for place, mean in zip(places, means, strict=True):
            timings = Timings(decoded_at - start, start - batch[place].since, now - decoded_at)
            results[place] = PromptResult(mean, timings)
        return results
