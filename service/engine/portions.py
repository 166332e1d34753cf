"""How many of the items that wait one inference thread takes at a time.

Learned from the batches that ran: what an item of a lane takes, and how many of bulk fit into a short turn. Knows
neither queues nor threads: whoever takes items asks here, and tells what came, was taken and is done.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

from service.engine.lane import Lane
from service.engine.priority import turn_size

__all__ = ["Hold", "Portions"]

_WORTH_SHARING_S = 0.004
"""Work that takes less is not divided between threads: what they share of the interpreter costs more than is won."""
_NEVER_TOO_LONG = 4
"""So few items are run together however long they take, as a model may be much slower with one than with a few."""
_EXPECTED_FOR_S = 10.0
"""For so long after an interactive item more are expected, and bulk has short turns, so that they need not wait."""


@dataclass(frozen=True)
class Hold:
    """How long a device may be held at a time, because whatever comes meanwhile waits for the end.

    Attributes:
        batch_s: What would take longer is run in several batches.
        bulk_s: A turn of bulk, where interactive items may come.
    """

    batch_s: float = math.inf
    bulk_s: float = 0.01


class Portions:
    """Of the threads of one device. Not for several threads at a time, but for `pace_s` and `ran`.

    Args:
        threads: How many share what waits.
        hold: How long they may hold the device.
    """

    def __init__(self, threads: int, hold: Hold) -> None:
        self._threads, self._hold = threads, hold
        self._pace_s: dict[Lane[Any, Any], float] = {}
        self._turn_size: dict[Lane[Any, Any], int] = {}
        self._running = 0
        self._interactive_at = -math.inf

    def pace_s(self, lane: Lane[Any, Any]) -> float:
        """Seconds that an item of a lane takes in a batch, of late; infinite before the first."""
        return self._pace_s.get(lane, math.inf)

    def ran(self, lane: Lane[Any, Any], items: int, seconds: float) -> None:
        """Tells that a batch ran, wherever that was."""
        pace_s = seconds / items
        self._pace_s[lane] = 0.9 * self._pace_s.get(lane, pace_s) + 0.1 * pace_s

    def came(self, lane: Lane[Any, Any]) -> None:
        """Tells that items came which wait for a thread."""
        if lane.priority == "interactive":
            self._interactive_at = time.monotonic()

    def of(self, lane: Lane[Any, Any], waiting: int) -> int:
        """How many of the items of a lane that wait a thread takes, at least 1.

        All of them, up to `max_batch`, unless it pays to divide the work: then an equal part of what waits and what
        runs, or one thread would hold most of it, and keep those who asked for it waiting, as long as the load lasts.
        """
        most = min(lane.max_batch, waiting)
        pace_s = self._pace_s.get(lane, 0.0)
        if waiting * pace_s >= _WORTH_SHARING_S:
            most = min(most, -(-(waiting + self._running) // self._threads))
            if most * pace_s > self._hold.batch_s:
                most = min(most, max(_NEVER_TOO_LONG, int(self._hold.batch_s / pace_s)))
        return min(most, self._turn_size.get(lane, 1)) if self._has_short_turns(lane) else most

    def taken(self, items: int) -> None:
        """Tells that a thread has items."""
        self._running += items

    def done(self, lane: Lane[Any, Any], items: int, seconds: float) -> None:
        """Tells that it is done with them, and how long it took, all in all."""
        self._running -= items
        if self._has_short_turns(lane):
            self._turn_size[lane] = turn_size(self._turn_size.get(lane, 1), items, seconds, self._hold.bulk_s)

    def _has_short_turns(self, lane: Lane[Any, Any]) -> bool:
        return lane.priority == "bulk" and time.monotonic() - self._interactive_at < _EXPECTED_FOR_S
