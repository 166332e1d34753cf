"""One thread that runs whatever waits, in batches, the moment it is free.

While a batch runs, items gather; when it ends, up to `max_batch` of them go at once. So batches are as large as the
load makes them, and at low load nothing waits for a timer. Knows neither ONNX nor HTTP: a lane is a callable.
The queue needs no bound of its own, because every item has a reservation (`admission`).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.engine.errors import EngineError, InferenceError, NotReadyError
from service.engine.ticket import Item

__all__ = ["Batcher", "Lane", "Outcomes"]

_log = logging.getLogger(__name__)

P = TypeVar("P")
R = TypeVar("R")
Outcomes = Sequence[tuple[Item, object]]
"""Items with what became of each: a result, or the error that befell it."""


@dataclass(frozen=True, eq=False)
class Lane(Generic[P, R]):
    """Items that can share a batch.

    Attributes:
        run: Takes 1 to `max_batch` payloads and returns one result for each, in order.
        max_batch: At least 1.
    """

    run: Callable[[Sequence[P]], Sequence[R]]
    max_batch: int

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"Expected batches of at least one item, found {self.max_batch}.")


class Batcher:
    """The inference thread of one device, and the items that wait for it.

    Args:
        settle: Called with items and their outcomes, once for every item that was put.
        on_batch: Called after each run that succeeded, with its number of items and its seconds.
    """

    def __init__(
        self, settle: Callable[[Outcomes], None], on_batch: Callable[[int, float], None] | None = None
    ) -> None:
        self._settle = settle
        self._on_batch = on_batch
        self._lanes: dict[Lane[Any, Any], deque[Item]] = {}
        self._open = True
        self._wake = threading.Condition()
        # A daemon, because a library must not keep a program alive that forgot to close it.
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once it was closed or its thread died."""
        return self._open

    def put(self, lane: Lane[Any, Any], item: Item) -> None:
        """Queues an item behind all others; settles it with `NotReadyError` if nothing will ever run it."""
        with self._wake:
            if self._open:
                self._lanes.setdefault(lane, deque()).append(item)
                self._wake.notify()
                return
        self._settle([(item, _not_ready())])

    def close(self, timeout_s: float = 5.0) -> None:
        """Settles what waits with `NotReadyError`, and waits for the batch that runs."""
        self._stop()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:
            _log.critical("The inference thread died; the process must be replaced.", exc_info=True)
        finally:
            self._stop()

    def _step(self) -> bool:
        """Takes a batch and runs it; False when closed. Its own function, so nothing of the batch outlives it."""
        with self._wake:
            self._wake.wait_for(lambda: self._lanes or not self._open)
            if not self._lanes:
                return False
            lane, items, refused = self._take()
        if refused:
            self._settle(refused)
        try:
            if items:
                self._run(lane, items)
        except BaseException:
            self._settle([(item, _not_ready()) for item in items])
            raise
        return True

    def _take(self) -> tuple[Lane[Any, Any], list[Item], Outcomes]:
        """From the lane whose first item is the oldest, up to `max_batch` items that are still wanted."""
        lane = min(self._lanes, key=lambda lane: self._lanes[lane][0].decoded_at or 0.0)
        waiting = self._lanes[lane]
        items: list[Item] = []
        refused: list[tuple[Item, object]] = []
        while waiting and len(items) < lane.max_batch:
            item = waiting.popleft()
            if refusal := item.ticket.refusal():
                refused.append((item, refusal))
            else:
                items.append(item)
        if not waiting:
            del self._lanes[lane]
        return lane, items, refused

    def _run(self, lane: Lane[Any, Any], items: list[Item]) -> None:
        """Runs and settles the items, taking them out of the list."""
        try:
            outcomes = self._call(lane, items)
        except Exception as error:  # whatever the callable raises is the batch's outcome, not the thread's end
            if len(items) > 1:
                _log.warning("A batch of %d items failed; each is tried alone.", len(items), exc_info=True)
                while items:
                    alone = [items[0]]
                    self._run(lane, alone)
                    del items[0]
                return
            _log.exception("An item failed alone.")
            outcomes = [(item, _blame(error)) for item in items]
        items.clear()
        self._settle(outcomes)

    def _call(self, lane: Lane[Any, Any], items: Sequence[Item]) -> Outcomes:
        started_at = time.perf_counter()
        for item in items:
            item.started_at = started_at
        results: Sequence[object] = lane.run([item.payload for item in items])
        if len(results) != len(items):
            raise InferenceError(f"Expected {len(items)} results of a batch, found {len(results)}.")
        if self._on_batch:
            self._on_batch(len(items), time.perf_counter() - started_at)
        return list(zip(items, results, strict=True))

    def _stop(self) -> None:
        with self._wake:
            self._open = False
            waiting = [item for lane in self._lanes.values() for item in lane]
            self._lanes.clear()
            self._wake.notify_all()
        if waiting:
            self._settle([(item, _not_ready()) for item in waiting])


def _blame(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    blame = InferenceError("The model failed on this image.")  # the cause stays in the log: it is ours, not theirs
    blame.__cause__ = error
    return blame


def _not_ready() -> NotReadyError:
    return NotReadyError("The engine has stopped; this item was not processed.")
