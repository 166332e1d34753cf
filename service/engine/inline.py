"""Small work for quick models, done on the event loop that brought it.

To hand an item to a thread and its outcome back takes longer than a small model does, and the threads of one process
hinder each other. So the items that one turn of the loop has read are run as one batch at the end of the turn: the
busier the loop, the larger the batch, as with threads. The loop is never kept from its other work for longer than a
slice; but a slice may be as long as that other work was, or a loop that is busy refusing requests would never get to
those it has accepted.

Bulk has a short slice in every turn in which the loop has nothing else to do, and in one of two dozen however much
there is, so that it does not starve: a request takes about four turns from its arrival to its answer. Beside a busy
loop, threads would serve both worse: it waits for the interpreter at each of its system calls, and finds it taken.

Not for several threads: each loop brings its own.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from service.engine.batcher import Batcher
from service.engine.lane import Lane
from service.engine.priority import PRIORITIES, Priority
from service.engine.ticket import Item, Post

__all__ = ["LONGEST_SLICE_S", "QUICK_S", "Inline", "slice_s"]

_SLICE_S, LONGEST_SLICE_S = 0.01, 0.05  # enough for a request of 32 small images in one batch
_BULK_SLICE_S, _BULK_EVERY = 0.0015, 24
_NOTHING_S = 0.0001  # a turn of the loop in which nothing came takes less
_LEAST_COST_S = 1e-6  # a clock may say that nothing took no time
QUICK_S = 0.001
"""The most that one item of a model may take that is run here. After a slow spell, threads find out when it is over."""


def slice_s(others_s: float) -> float:
    """For how long a loop may be kept from its other work, which it has done for so many seconds before."""
    return min(max(_SLICE_S, others_s), LONGEST_SLICE_S)


class Inline:
    """The items of one event loop.

    Args:
        batcher: Runs and settles them.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._waiting: dict[Priority, dict[Lane[Any, Any], deque[Item]]] = {each: {} for each in PRIORITIES}
        self._cost_s: dict[Lane[Any, Any], float] = {}
        self._due_at = 0.0
        self._due = False
        self._turn = 0

    def put(self, lane: Lane[Any, Any], items: Iterable[Item], soon: Post) -> None:
        """Has items run at the end of this turn of the loop."""
        self._waiting[lane.priority].setdefault(lane, deque()).extend(items)
        if not self._due:
            self._run_soon(soon)

    def _run_soon(self, soon: Post) -> None:
        self._due, self._due_at = True, time.perf_counter()
        soon(lambda: self._run_slices(soon))

    def _run_slices(self, soon: Post) -> None:
        """Runs batches for as long as the loop has done other things since this was due, within limits; then bulk."""
        self._due = False
        others_s = time.perf_counter() - self._due_at
        self._run("interactive", slice_s(others_s))
        self._turn += 1
        if self._turn % _BULK_EVERY == 0 or others_s < _NOTHING_S:
            self._run("bulk", _BULK_SLICE_S)
        if any(self._waiting.values()) and not self._due:
            self._run_soon(soon)

    def _run(self, priority: Priority, seconds: float) -> None:
        lanes, now = self._waiting[priority], time.perf_counter()
        end, worth_s = now + seconds, min(seconds, _SLICE_S) / 2  # a little more would be a batch of one or two
        while lanes and end - now > worth_s:
            lane, items, cost_s = self._take(lanes, end - now)
            count, start = len(items), now
            self._batcher.run_here(lane, items)
            now = time.perf_counter()
            self._cost_s[lane] = 0.9 * cost_s + 0.1 * (now - start) / count

    def _take(
        self, lanes: dict[Lane[Any, Any], deque[Item]], left_s: float
    ) -> tuple[Lane[Any, Any], list[Item], float]:
        """The items of the lane whose turn it is that take about so long, and what one of them costs."""
        lane, waiting = next(iter(lanes.items()))
        cost_s = self._cost_s.get(lane, self._batcher.pace_s(lane))
        most = min(lane.max_batch, max(1, int(left_s / max(cost_s, _LEAST_COST_S))))
        items = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        del lanes[lane]
        if waiting:
            lanes[lane] = waiting  # behind the other lanes
        return lane, items, cost_s
