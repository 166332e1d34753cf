"""How long a batch that could run waits for items that are still being decoded.

Decoding and running share the CPUs. As long as all of them are busy nothing is gained by running early, and what is
decoded meanwhile goes into another batch, a smaller one, which costs more for each item. So decoding goes first, for no
longer than the batch itself takes. Knows neither queues nor threads: their keeper asks here.
"""

import math
import time
from collections import Counter
from typing import Any

from service.engine.lane import Lane

__all__ = ["Patience"]

_LONG_S = 0.03
"""A batch that takes so long gains too little by more items: what it costs to begin one is a few hundredths of it."""
_GRACE_S, _WORTH_GRACE_S = 0.0005, 0.005
"""After a batch that took long enough, those who were answered have so long to ask again: else their items, and those
that were decoded while it ran, would be two halves of a batch for ever."""


class Patience:
    """Of the threads of one device. Not for several threads at a time.

    Args:
        cpus: That decode and run; 0 where batches run on something else.
        runners: Batches that may run at a time, each on an equal part of the CPUs.
        decoders: Items that may be decoded at a time, each on one CPU.
    """

    def __init__(self, cpus: int = 0, runners: int = 1, decoders: int = 1) -> None:
        self._cpus, self._runners, self._decoders = cpus, runners, decoders
        self._decoding = Counter[Lane[Any, Any]]()
        self._running = 0
        self._grace_until = -math.inf

    def expected(self, lane: Lane[Any, Any]) -> int:
        """How many items of a lane are being decoded, or wait for it."""
        return self._decoding[lane]

    def expect(self, lane: Lane[Any, Any], items: int) -> None:
        """Tells that more items will be decoded; fewer if negative, as some are, or never will be."""
        self._decoding[lane] += items
        if not self._decoding[lane]:
            del self._decoding[lane]  # which may belong to a model that is gone

    def begins(self) -> None:
        """Tells that a batch runs."""
        self._running += 1

    def ends(self, items: int, seconds: float) -> None:
        """Tells that it has run."""
        self._running -= 1
        if items > 1 and seconds >= _WORTH_GRACE_S:
            self._grace_until = time.perf_counter() + _GRACE_S

    def left_s(self, lane: Lane[Any, Any], since: float, batch_s: float) -> float:
        """How long a batch should still wait; it should not if that is not above 0.

        Args:
            lane: Of its items.
            since: When the first of them was decoded, as `time.perf_counter` has it.
            batch_s: What it would take.
        """
        if not self._cpus or batch_s >= _LONG_S:
            return 0.0
        now = time.perf_counter()
        if not self._decoding[lane]:
            return self._grace_until - now
        busy = self._running * self._cpus / self._runners + min(self._decoding.total(), self._decoders)
        return since + batch_s - now if busy >= self._cpus else 0.0
