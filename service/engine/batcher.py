"""Threads that run whatever waits, in batches, the moment they are free.

While a batch runs, items gather; when it ends, up to `max_batch` of them go at once. So batches are as large as the
load makes them, and at low load nothing waits for a timer; what is decoded waits for more of it only while all CPUs
are busy. Where several threads are free and it pays, they share what waits. Knows neither ONNX nor HTTP: a lane is a
callable. Every item has a reservation, which bounds the queue.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from service.engine import cpu
from service.engine.backlog import Backlog
from service.engine.decoding import decode_item
from service.engine.errands import Errands
from service.engine.errors import DeviceLostError, InferenceError, blame, not_run
from service.engine.lane import Lane
from service.engine.patience import Patience
from service.engine.portions import Hold, Portions
from service.engine.ticket import Item

__all__ = ["Batcher", "Outcomes"]

_log = logging.getLogger(__name__)

Outcome = tuple[Item, object]
Outcomes = Sequence[Outcome]
"""Items with what became of each: a result, or the error that befell it."""


class Batcher:
    """The inference threads of one device, and the items that wait for them.

    Args:
        settle: Called with items and their outcomes, once for every item that was put.
        on_batch: Called after each run that succeeded, with its number of items and its seconds.
        threads: How many batches may run at a time.
        hold: How long the device may be held.
        patience: How long what waits does so for what is being decoded; None never.
    """

    def __init__(
        self,
        settle: Callable[[Outcomes], None],
        on_batch: Callable[[int, float], None] | None = None,
        threads: int = 1,
        hold: Hold | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._settle = settle
        self._on_batch = on_batch
        self._portions = Portions(threads, hold or Hold())
        self._backlog = Backlog(self._portions, patience or Patience())
        self._errands = Errands()
        self._open = True
        self._idle = self._watching = 0
        self._wake = threading.Condition()
        # Daemons, because a library must not keep a program alive that forgot to close it.
        names = ["inference", *(f"inference-{number}" for number in range(2, threads + 1))]
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=name, daemon=True)
            for number, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """False once it was closed or one of its threads died."""
        return self._open

    def expect(self, lane: Lane[Any, Any]) -> None:
        """Tells that an item will be decoded, and put then or not, for which others of its lane may wait."""
        with self._wake:
            self._backlog.expect(lane, 1)

    def put(self, lane: Lane[Any, Any], *items: Item, expected: int = 0) -> None:
        """Queues items behind those of their lane; settles them with `NotReadyError` if nothing will ever run them.

        Args:
            lane: Of the items.
            items: Any number.
            expected: How many were expected and are no longer, whether they are among the items or were settled.
        """
        with self._wake:
            self._backlog.expect(lane, -expected)
            if self._open:
                if items:
                    self._backlog.put(lane, *items)
                self._call_one()
                return
        if items:
            self._settle([(item, not_run()) for item in items])

    def run_here(self, lane: Lane[Any, Any], items: list[Item]) -> None:
        """Decodes, runs and settles at most `max_batch` items in the calling thread; beside what the others run."""
        if not self._open:
            self._settle([(item, not_run()) for item in items])
            return
        self._decode(items)
        if items:
            self._run(lane, items)

    def on_each_thread(self, call: Callable[[int], None]) -> None:
        """Has the threads make a call one after the other, each between its batches, with its number from 0.

        Raises:
            NotReadyError: Closed, or a thread died; beside whatever the call raises.
        """
        for number in range(len(self._threads)):
            with self._wake:
                if not self._open:
                    raise not_run()
                done = self._errands.give(number, call)
                self._wake.notify_all()
            done.result()

    def pace_s(self, lane: Lane[Any, Any]) -> float:
        """Seconds that an item of a lane takes in a batch, of late; infinite before the first."""
        return self._portions.pace_s(lane)

    def close(self, timeout_s: float = 5.0) -> None:
        """Settles what waits with `NotReadyError`, and waits for the batches that run."""
        self._stop()
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self, number: int) -> None:
        cpu.give_way()
        try:
            while self._step(number):
                pass
        except BaseException:
            _log.critical("An inference thread died; the process must be replaced.", exc_info=True)
        finally:
            self._stop()

    def _step(self, number: int) -> bool:
        """Takes a batch and runs it; False when closed. Its own function, so nothing of the batch outlives it."""
        with self._wake:
            self._idle += 1
            self._wait(number)
            self._idle -= 1
            errand = self._errands.take(number)
            if errand is None:
                if not self._open:
                    return False
                lane, items, refused = self._backlog.take()
                alone = len(items) == 1 and not self._backlog and self._idle == len(self._threads) - 1
                alone = alone and self.pace_s(lane) >= cpu.WORTH_DIVIDING_S
            self._call_one()
        if errand is not None:
            errand.make()
            return True
        if refused:
            self._settle(refused)
        count, taken_at = len(items), time.perf_counter()
        try:
            self._decode(items)
            if items:
                self._run(lane, items, alone=alone)
        except BaseException:
            self._stop()  # first, so that whoever is told finds it closed
            self._settle([(item, not_run()) for item in items])
            raise
        with self._wake:
            self._backlog.done(lane, count, time.perf_counter() - taken_at)
        return True

    def _wait(self, number: int) -> None:
        """For an errand, for items that are due, or for the end."""
        while self._open and number not in self._errands:
            if not self._backlog:
                self._wake.wait()
            elif (left_s := self._backlog.left_s) > 0:
                self._watching += 1
                self._wake.wait(left_s)
                self._watching -= 1
            else:
                return

    def _call_one(self) -> None:
        """Has a free thread look, if there is something to take, or nobody who knows when there will be."""
        if self._backlog and (not self._watching or self._backlog.left_s <= 0):
            self._wake.notify()

    def _decode(self, items: list[Item]) -> None:
        """Decodes what was put undecoded; what cannot be, or is not wanted any more, is settled and taken out."""
        taken_at = time.perf_counter()
        ticket = refusal = None
        for item in list(items):
            if item.decode is not None:
                item.taken_at = taken_at
            if item.ticket is not ticket:
                ticket, refusal = item.ticket, item.ticket.refusal()
            if item.decode is None and refusal is None:
                continue
            if outcome := refusal or decode_item(item):
                items.remove(item)
                self._settle([(item, outcome)])

    def _run(self, lane: Lane[Any, Any], items: list[Item], *, alone: bool = False) -> None:
        """Runs and settles the items, taking them out of the list."""
        try:
            outcomes = self._call(lane, items, alone=alone)
        except DeviceLostError:  # nothing that follows could succeed, so the thread ends, and that is seen
            raise
        except Exception as error:  # whatever the callable raises is the batch's outcome, not the thread's end
            if len(items) > 1:
                _log.warning("A batch of %d items failed; each is tried alone.", len(items), exc_info=True)
                while items:
                    one = [items[0]]
                    self._run(lane, one)
                    del items[0]
                return
            _log.exception("An item failed alone.")
            outcomes = [(item, blame(error)) for item in items]
        items.clear()
        self._settle(outcomes)

    def _call(self, lane: Lane[Any, Any], items: Sequence[Item], *, alone: bool) -> Outcomes:
        started_at = time.perf_counter()
        for item in items:
            item.started_at = started_at
        run = lane.run_alone if alone and lane.run_alone is not None else lane.run
        results: Sequence[object] = run([item.payload for item in items])
        if len(results) != len(items):
            raise InferenceError(f"Expected {len(items)} results of a batch, found {len(results)}.")
        seconds = time.perf_counter() - started_at
        self._portions.ran(lane, len(items), seconds)
        lane.statistics.batch(len(items), seconds)
        if self._on_batch:
            self._on_batch(len(items), seconds)
        return list(zip(items, results, strict=True))

    def _stop(self) -> None:
        with self._wake:
            self._open = False
            waiting = self._backlog.clear()
            self._errands.refuse(not_run())
            self._wake.notify_all()
        if waiting:
            self._settle([(item, not_run()) for item in waiting])
