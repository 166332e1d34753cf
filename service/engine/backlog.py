"""Items that wait for the inference threads of one device: which of them a free thread takes, and when.

Knows no threads: whoever keeps them puts and takes here.
"""

from collections import deque
from typing import Any

from service.engine.errors import EngineError
from service.engine.lane import Lane
from service.engine.patience import Patience
from service.engine.portions import Portions
from service.engine.priority import Turns
from service.engine.ticket import Item

__all__ = ["Backlog"]


class Backlog:
    """Queues, one for each lane. Not for several threads at a time.

    Args:
        portions: How many items are taken at a time.
        patience: How long they wait for others.
    """

    def __init__(self, portions: Portions, patience: Patience) -> None:
        self._portions, self._patience = portions, patience
        self._lanes: dict[Lane[Any, Any], deque[Item]] = {}
        self._turns = Turns()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._lanes)

    @property
    def left_s(self) -> float:
        """How long until there is something to take; not above 0 if there is. Something must wait."""
        return min(map(self._left_s, self._lanes))

    def put(self, lane: Lane[Any, Any], *items: Item) -> None:
        """Items behind those of their lane, at least one."""
        self._portions.came(lane)
        self._lanes.setdefault(lane, deque()).extend(items)

    def expect(self, lane: Lane[Any, Any], items: int) -> None:
        """Tells that so many more are being decoded, or fewer if negative."""
        self._patience.expect(lane, items)

    def take(self) -> tuple[Lane[Any, Any], list[Item], list[tuple[Item, EngineError]]]:
        """A thread's portion from the lane whose turn it is, once `left_s` is over.

        Returns:
            The lane, its items, and those that were before them but are not wanted any more, with the reason.
        """
        lane = self._next_lane()
        waiting = self._lanes[lane]
        items: list[Item] = []
        refused: list[tuple[Item, EngineError]] = []
        most = self._portions.of(lane, len(waiting))
        while waiting and len(items) < most:
            item = waiting.popleft()
            if refusal := item.ticket.refusal():
                refused.append((item, refusal))
            else:
                items.append(item)
        if not waiting:
            del self._lanes[lane]
        self._portions.taken(len(items))
        self._patience.begins()
        return lane, items, refused

    def done(self, lane: Lane[Any, Any], items: int, seconds: float) -> None:
        """Tells that a thread is done with what it took, and how long it took, all in all."""
        self._portions.done(lane, items, seconds)
        self._patience.ends(items, seconds)

    def clear(self) -> list[Item]:
        """Takes all."""
        items = [item for lane in self._lanes.values() for item in lane]
        self._lanes.clear()
        return items

    def _next_lane(self) -> Lane[Any, Any]:
        """The one whose first item is the oldest, of the priority whose turn it is."""
        ready = [lane for lane in self._lanes if self._left_s(lane) <= 0] or list(self._lanes)
        priority = self._turns.next({lane.priority for lane in ready})
        lanes = (lane for lane in ready if lane.priority == priority)
        return min(lanes, key=lambda lane: self._lanes[lane][0].admitted_at)

    def _left_s(self, lane: Lane[Any, Any]) -> float:
        waiting = self._lanes[lane]
        count, more = len(waiting), max(1, self._patience.expected(lane))
        if self._portions.of(lane, count) == self._portions.of(lane, count + more):
            return 0.0
        since = waiting[0].decoded_at or waiting[0].admitted_at
        return self._patience.left_s(lane, since, count * self._portions.pace_s(lane))
