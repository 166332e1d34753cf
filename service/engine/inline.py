"""Small work for quick models, done on the event loop that brought it.

To hand an item to a thread and its outcome back takes longer than a small model does, and the threads of one process
hinder each other. So the items that one turn of the loop has read are run as one batch at the end of the turn: the
busier the loop, the larger the batch, as with threads. The loop is never kept from its other work for longer than a
slice; but a slice may be as long as that other work was, or a loop that is busy refusing requests would never get to
those it has accepted. Not for several threads: each loop brings its own.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from service.engine.batcher import Batcher
from service.engine.lane import Lane
from service.engine.ticket import Item, Post

__all__ = ["QUICK_S", "Inline", "slice_s"]

_SLICE_S, _LONGEST_SLICE_S = 0.01, 0.05  # enough for a request of 32 small images in one batch
_LEAST_COST_S = 1e-6  # a clock may say that nothing took no time
QUICK_S = 0.001
"""The most that one item of a model may take that is run here. After a slow spell, threads find out when it is over."""


def slice_s(others_s: float) -> float:
    """For how long a loop may be kept from its other work, which it has done for so many seconds before."""
    return min(max(_SLICE_S, others_s), _LONGEST_SLICE_S)


class Inline:
    """The items of one event loop.

    Args:
        batcher: Runs and settles them.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._waiting: dict[Lane[Any, Any], deque[Item]] = {}
        self._cost_s: dict[Lane[Any, Any], float] = {}
        self._due_at = 0.0

    def put(self, lane: Lane[Any, Any], items: Iterable[Item], soon: Post) -> None:
        """Has items run at the end of this turn of the loop."""
        due = not self._waiting
        self._waiting.setdefault(lane, deque()).extend(items)
        if due:
            self._due_at = time.perf_counter()
            soon(lambda: self._run_slice(soon))

    def _run_slice(self, soon: Post) -> None:
        """Runs batches for as long as the loop has done other things since this was due, within limits."""
        now = time.perf_counter()
        end = now + slice_s(now - self._due_at)
        while self._waiting and end - now > _SLICE_S / 2:  # a little more would be a batch of one or two
            lane, items, cost_s = self._take(end - now)
            count, start = len(items), now
            self._batcher.run_here(lane, items)
            now = time.perf_counter()
            self._cost_s[lane] = 0.9 * cost_s + 0.1 * (now - start) / count
        if self._waiting:
            self._due_at = now
            soon(lambda: self._run_slice(soon))

    def _take(self, left_s: float) -> tuple[Lane[Any, Any], list[Item], float]:
        """The items of the lane whose turn it is that take about so long, and what one of them costs."""
        lane, waiting = next(iter(self._waiting.items()))
        cost_s = self._cost_s.get(lane, self._batcher.pace_s(lane))
        most = min(lane.max_batch, max(1, int(left_s / max(cost_s, _LEAST_COST_S))))
        items = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        del self._waiting[lane]
        if waiting:
            self._waiting[lane] = waiting  # behind the other lanes
        return lane, items, cost_s
