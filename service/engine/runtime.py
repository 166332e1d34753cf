"""From admission to outcome: one queue, one pool of decode threads, inference threads for each device.

Shared by every engine of a process. Knows neither image formats, nor ONNX, nor HTTP.
"""

import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.engine import cpu
from service.engine.admission import Admission
from service.engine.batcher import Batcher, Outcomes
from service.engine.decode_pool import DecodePool
from service.engine.decoding import decode_item
from service.engine.errors import NotReadyError, not_run
from service.engine.images import DecodeLimits
from service.engine.inline import QUICK_S, Inline
from service.engine.lane import Lane
from service.engine.patience import Patience
from service.engine.place import read_place
from service.engine.portions import Hold
from service.engine.priority import Priority
from service.engine.ticket import Item, Ticket, announce, settle

__all__ = ["Runtime", "Work"]

_INTERACTIVE_FOR_S = 1.0
"""For so long after an interactive request more of them are expected."""
_HOLD_CPU = Hold(batch_s=0.1, bulk_s=0.005)
"""A CPU needs for each of many images nearly what it needs for one, so larger batches would win little."""


@dataclass(eq=False, slots=True)
class Work:
    """One item before it is decoded.

    Attributes:
        size_bytes: What it keeps in memory while it waits.
        decode: What decodes it; None for what needs no decoding.
        small: Whether that takes less than handing it from thread to thread, so that it is done where the item is run.
        payload: What needs no decoding.
    """

    size_bytes: int
    decode: Callable[[], object] | None
    small: bool = False
    payload: object = None


class Runtime:
    """The queue, the threads and the limits.

    Args:
        max_items: The most items that may be anywhere between admission and outcome.
        max_bytes: The most bytes of their encoded images.
        decode_threads: None takes what inference leaves of the usable CPUs.
        max_batch: The most items of one run of a model.
        limits: What one image may cost.
        runners: Batches that may run at a time on the CPU; None takes two where there are two CPUs.
        cpus: CPUs that decode and run; None takes the usable ones.
        on_batch: Called after each run that succeeded, where it ran, with its number of items and seconds.
    """

    def __init__(
        self,
        *,
        max_items: int = 1024,
        max_bytes: int = 512 * 1024 * 1024,
        decode_threads: int | None = None,
        max_batch: int = 64,
        limits: DecodeLimits | None = None,
        runners: int | None = None,
        cpus: int | None = None,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.max_items, self.max_bytes, self.max_batch = max_items, max_bytes, max_batch
        self.limits = limits or DecodeLimits()
        self._on_batch = on_batch
        self._admission = Admission(max_items, max_bytes)
        cpus = cpus or cpu.usable_cpus()
        threads = decode_threads or cpu.decode_threads(cpus)
        self.runners = runners or cpu.runners(cpus)
        self._patience = functools.partial(Patience, cpus, self.runners, threads)
        self._decoders = DecodePool(threads)
        self._batchers: dict[str, Batcher] = {}
        self._loops: dict[int, Inline] = {}
        self._interactive_at = -math.inf
        self._lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether every inference thread lives; once False it stays so, and the process should be replaced."""
        with self._lock:
            return not self._closed and all(batcher.alive for batcher in self._batchers.values())

    @property
    def load(self) -> int:
        """Items between admission and outcome."""
        return self._admission.items

    @property
    def bulk_load(self) -> int:
        """Those of them that are bulk."""
        return self._admission.bulk_items

    def wait_s(self, priority: Priority) -> float:
        """Seconds until what goes before another item of a priority should be done, from the measured pace."""
        return self._admission.wait_s(priority)

    def check_room(self, priority: Priority, within_s: float) -> None:
        """Whether `submit` could admit anything now, for whoever has yet to read what to submit.

        Raises:
            QueueFullError: Not even one item.
        """
        self._admission.check(priority, within_s)

    def expect_interactive(self) -> None:
        """Tells that an interactive request came, so that more may be expected; `submit` knows by itself."""
        self._interactive_at = time.monotonic()

    def submit(
        self, ticket: Ticket[Any], work: Sequence[Work], lane: Lane[Any, Any], device: str, *, wait: bool = False
    ) -> None:
        """Admits the items of a ticket and starts to decode them.

        Args:
            ticket: Of as many items as there is work.
            work: The items, in order.
            lane: What runs them once they are decoded.
            device: The lanes of one device share its inference threads.
            wait: False admits all at once or refuses; True admits one by one, each waiting for room.

        Raises:
            QueueFullError: No room now, or too much before it for its deadline (without `wait`).
            RequestTooLargeError: More than the queue can ever hold.
            NotReadyError: Draining, closed or dead.
        """
        batcher = self._batcher(device)
        if not wait:
            size_bytes = sum(each.size_bytes for each in work)
            self._admission.reserve(len(work), size_bytes, lane.priority, within_s=ticket.left_s)
        if lane.priority == "interactive":
            self.expect_interactive()
        lane.statistics.follow(ticket)
        small: list[Item] = []
        now = time.perf_counter()
        try:
            for index, each in enumerate(work):
                if wait:
                    self._admission.reserve(1, each.size_bytes, lane.priority, wait=True)
                    now = time.perf_counter()
                item = Item(ticket, index, each.size_bytes, each.payload, each.decode, lane.priority, now)
                if each.decode is None:
                    item.decoded_at = now
                if not wait and (each.decode is None or (each.small and device == "cpu")):
                    small.append(item)
                elif each.decode is None:
                    batcher.put(lane, item)
                else:
                    batcher.expect(lane)
                    self._decoders.put(functools.partial(self._decode, item, lane, batcher), lane.priority)
        except Exception:  # only `reserve` raises, and then what was already started is no longer wanted
            ticket.cancel()
            raise
        if small and device == "cpu":
            self._put_small(ticket, small, lane, batcher)
        elif small:
            batcher.put(lane, *small)

    def _put_small(self, ticket: Ticket[Any], items: list[Item], lane: Lane[Any, Any], batcher: Batcher) -> None:
        """To the event loop that waits for all of them, if it has the time; else to a thread.

        Threads do more bulk than the loop does, but take the interpreter from a loop that has requests to answer or to
        refuse: then it is done there, in what time is left.
        """
        quick = batcher.pace_s(lane) <= QUICK_S
        idle = lane.priority == "bulk" and not self._loop_is_needed
        if ticket.soon is None or len(items) < ticket.size or not quick or idle:
            batcher.put(lane, *items)
            return
        ticket.post = None  # it will be settled where it is awaited
        loop = threading.get_ident()
        if loop not in self._loops:
            self._loops[loop] = Inline(batcher)
        self._loops[loop].put(lane, items, ticket.soon)

    @property
    def _loop_is_needed(self) -> bool:
        return self._admission.is_shut("bulk") or time.monotonic() - self._interactive_at < _INTERACTIVE_FOR_S

    def on_each_thread(self, device: str, call: Callable[[int], None]) -> None:
        """Has each inference thread of a device make a call; see `Batcher.on_each_thread`."""
        self._batcher(device).on_each_thread(call)

    def drain(self, timeout_s: float) -> bool:
        """Admits nothing more and waits until all that was admitted has its outcome; False if the time ran out."""
        return self._admission.drain(timeout_s)

    def close(self) -> None:
        """Ends all threads; what has no outcome by then gets `NotReadyError`."""
        self._admission.drain(0)
        with self._lock:
            self._closed = True
        for batcher in self._batchers.values():
            batcher.close()
        self._decoders.close()

    def _batcher(self, device: str) -> Batcher:
        with self._lock:
            batcher = self._batchers.get(device)
            if batcher is None and not self._closed:
                gpus = len(read_place(device).gpus)
                own = () if gpus else (_HOLD_CPU, self._patience())
                batcher = Batcher(self._settle, self._on_batch, gpus or self.runners, *own)
                self._batchers[device] = batcher
        if batcher is None or not batcher.alive:
            raise NotReadyError("The engine is closed, or its inference thread has died; start it again.")
        return batcher

    def _decode(self, item: Item, lane: Lane[Any, Any], batcher: Batcher) -> None:
        outcome = (item.ticket.refusal() or decode_item(item)) if batcher.alive else not_run()
        if outcome is None:
            batcher.put(lane, item, expected=1)
        else:
            batcher.put(lane, expected=1)
            self._settle([(item, outcome)])

    def _settle(self, outcomes: Outcomes) -> None:
        """The only place where items end: noted, announced, and only then given back, so that drained means told."""
        announce(settle(outcomes))
        size_bytes = bulk = 0
        for item, _ in outcomes:
            size_bytes += item.size_bytes
            bulk += item.priority == "bulk"
        self._admission.release(len(outcomes), size_bytes, bulk)
