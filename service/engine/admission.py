"""Room for a bounded number of items and bytes, reserved all at once, and how fast it empties.

Knows nothing of what the items are.
"""

import math
import threading
import time

from service.engine.errors import NotReadyError, QueueFullError, RequestTooLargeError

__all__ = ["Admission"]

_MEMORY_S = 10.0
_FIRST_GUESS_S = 0.01


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
        self._items = self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._pace = _Pace()

    @property
    def items(self) -> int:
        """Items reserved now."""
        return self._items

    @property
    def bytes(self) -> int:
        """Bytes reserved now."""
        return self._bytes

    def reserve(self, items: int, size_bytes: int, *, wait: bool = False) -> None:
        """Reserves room for all the items or for none.

        Args:
            items: At least 0.
            size_bytes: Of all of them together.
            wait: Whether to wait for room instead of refusing.

        Raises:
            RequestTooLargeError: It would not fit even into an empty queue.
            QueueFullError: It does not fit now (without `wait`).
            NotReadyError: Closed, at once or while waiting.
        """
        if items > self.max_items or size_bytes > self.max_bytes:
            raise RequestTooLargeError(
                f"Expected at most {self.max_items:,} images and {self.max_bytes:,} bytes in one request, "
                f"found {items:,} and {size_bytes:,}; send them in several."
            )
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or self._fits(items, size_bytes))
            if self._closed:
                raise NotReadyError("The engine is shutting down and takes no more work.")
            if not self._fits(items, size_bytes):
                raise QueueFullError(
                    f"The queue is full: {self._items:,} of {self.max_items:,} images wait, {items:,} more do not fit.",
                    self._items * self._pace.seconds_per_item,
                )
            if not self._items:
                self._pace.start(time.monotonic())
            self._items += items
            self._bytes += size_bytes

    def release(self, items: int, size_bytes: int) -> None:
        """Gives room back; called once for every item, whatever became of it."""
        with self._changed:
            self._items -= items
            self._bytes -= size_bytes
            self._pace.step(time.monotonic(), items)
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Closes for good, then waits until everything is released; False if the time ran out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._items, timeout_s)

    def _fits(self, items: int, size_bytes: int) -> bool:
        return self._items + items <= self.max_items and self._bytes + size_bytes <= self.max_bytes


class _Pace:
    """Seconds per item while there is work: busy time over items done, both forgotten exponentially.

    A ratio of sums, because items leave a batch at a time and a mean of their gaps would be mostly zeros.
    """

    def __init__(self) -> None:
        self._busy_s = _FIRST_GUESS_S
        self._done = 1.0
        self._since = 0.0

    @property
    def seconds_per_item(self) -> float:
        return self._busy_s / self._done

    def start(self, now: float) -> None:
        self._since = now

    def step(self, now: float, items: int) -> None:
        elapsed = now - self._since
        self._since = now
        kept = math.exp(-elapsed / _MEMORY_S)
        self._busy_s = kept * self._busy_s + elapsed
        self._done = kept * self._done + items
