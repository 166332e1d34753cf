"""Room for a bounded number of items and bytes, reserved all at once, and how fast it empties.

The last quarter is for interactive items alone: a flood of bulk is refused while they are admitted. Who was refused for
lack of room keeps the door shut for those behind until an eighth is free: in a full queue there is nearly always room
for one item, and many would be read to be refused for the rest.

Knows nothing of what the items are.
"""

import math
import threading
import time

from service.engine.errors import NotReadyError, QueueFullError, RequestTooLargeError
from service.engine.priority import PRIORITIES, Priority, room

__all__ = ["Admission"]

_MEMORY_S = 10.0
_FIRST_GUESS_S = 0.01
_USABLE = 0.5
"""The part of the time left that others may take first: theirs is an estimate, and the item itself takes time too."""


class Admission:
    """A counter of items and bytes that refuses, rather than grows.

    Args:
        max_items: The most items reserved at a time.
        max_bytes: The most bytes reserved at a time.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        if max_items < 1 or max_bytes < 1:
            raise ValueError(f"Expected room for at least one item and byte, found {max_items} and {max_bytes}.")
        self.max_items, self.max_bytes = max_items, max_bytes
        self._most: dict[Priority, tuple[int, int]] = {
            priority: (room(max_items, priority), room(max_bytes, priority)) for priority in PRIORITIES
        }
        self._items = self._bytes = 0
        self._interactive, self._bulk = _Flow(), _Flow()
        self._shut: set[Priority] = set()
        self._closed = False
        self._changed = threading.Condition()

    @property
    def items(self) -> int:
        """Items reserved now."""
        return self._items

    @property
    def bulk_items(self) -> int:
        """Those of them that are bulk."""
        return self._bulk.items

    @property
    def bytes(self) -> int:
        """Bytes reserved now."""
        return self._bytes

    def is_shut(self, priority: Priority) -> bool:
        """Whether one of a priority was refused for lack of room, and `check` has not found an eighth free since."""
        return priority in self._shut

    def wait_s(self, priority: Priority) -> float:
        """Seconds until what goes before another item should be done: its own priority's, and for bulk all."""
        return self._interactive.rest_s + (self._bulk.rest_s if priority == "bulk" else 0.0)

    def check(self, priority: Priority, within_s: float | None = None) -> None:
        """Whether to read a request at all: raises QueueFullError as `reserve` would; takes no room, and no lock."""
        max_items, max_bytes = self._most[priority]
        if priority in self._shut:
            if not self._fits(max_items // 8, max_bytes // 8, priority):
                raise QueueFullError(f"The queue is full: {self._items:,} images wait.", self.wait_s(priority))
            self._shut.discard(priority)
        if refusal := self._refusal(1, 1, priority, within_s):
            raise refusal

    def reserve(
        self,
        items: int,
        size_bytes: int,
        priority: Priority = "interactive",
        *,
        wait: bool = False,
        within_s: float | None = None,
    ) -> None:
        """Reserves room for all the items or for none.

        Args:
            items: At least 0.
            size_bytes: Of all of them together.
            priority: Of all of them.
            wait: Whether to wait for room instead of refusing.
            within_s: The time they have; None is any.

        Raises:
            RequestTooLargeError: It would not fit even into an empty queue.
            QueueFullError: It does not fit now, or would hardly be done in time (without `wait`).
            NotReadyError: Closed, at once or while waiting.
        """
        max_items, max_bytes = self._most[priority]
        if items > max_items or size_bytes > max_bytes:
            raise RequestTooLargeError(
                f"Expected at most {max_items:,} images and {max_bytes:,} bytes in one {priority} request, "
                f"found {items:,} and {size_bytes:,}; send them in several."
            )
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or self._fits(items, size_bytes, priority))
            if self._closed:
                raise NotReadyError("The engine is shutting down and takes no more work.")
            if refusal := self._refusal(items, size_bytes, priority, within_s):
                if not self._fits(items, size_bytes, priority):
                    self._shut.add(priority)
                raise refusal
            (self._bulk if priority == "bulk" else self._interactive).enter(items)
            self._items += items
            self._bytes += size_bytes

    def release(self, items: int, size_bytes: int, bulk_items: int = 0) -> None:
        """Gives room back; called once for every item, whatever became of it.

        Args:
            items: Of both priorities.
            size_bytes: Of all of them together.
            bulk_items: Those of them that are bulk.
        """
        with self._changed:
            self._items -= items
            self._bytes -= size_bytes
            if bulk_items:
                self._bulk.leave(bulk_items)
            if items > bulk_items:
                self._interactive.leave(items - bulk_items)
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Closes for good, then waits until everything is released; False if the time ran out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._items, timeout_s)

    def _fits(self, items: int, size_bytes: int, priority: Priority) -> bool:
        max_items, max_bytes = self._most[priority]
        return self._items + items <= max_items and self._bytes + size_bytes <= max_bytes

    def _refusal(
        self, items: int, size_bytes: int, priority: Priority, within_s: float | None
    ) -> QueueFullError | None:
        if not self._fits(items, size_bytes, priority):
            kept = ", but for the quarter that is kept for interactive requests" if priority == "bulk" else ""
            found = f"{self._items:,} of {self.max_items:,} images wait, {items:,} more do not fit"
            return QueueFullError(f"The queue is full{kept}: {found}.", self.wait_s(priority))
        if within_s is None or within_s <= 0 or not self._items:  # what is late already is to be told so, not to retry
            return None
        wait_s = self.wait_s(priority)
        if wait_s <= _USABLE * within_s:
            return None
        text = f"Work for about {wait_s:.2g} s goes before, too much for an answer within {within_s:.2g} s; try later."
        return QueueFullError(text, wait_s)


class _Flow:
    """The items of one priority, and how fast they leave while there are any.

    The pace is busy time over items done, both forgotten exponentially: a ratio of sums, because items leave a batch at
    a time and a mean of their gaps would be mostly zeros. The other priority's use of the devices is in it.
    """

    def __init__(self) -> None:
        self.items = 0
        self._busy_s = _FIRST_GUESS_S
        self._done = 1.0
        self._since = 0.0

    @property
    def rest_s(self) -> float:
        """Seconds until all of them should have left."""
        return self.items * self._busy_s / self._done

    def enter(self, items: int) -> None:
        if not self.items:
            self._since = time.monotonic()
        self.items += items

    def leave(self, items: int) -> None:
        now = time.monotonic()
        elapsed, self._since = now - self._since, now
        kept = math.exp(-elapsed / _MEMORY_S)
        self._busy_s = kept * self._busy_s + elapsed
        self._done = kept * self._done + items
        self.items -= items
