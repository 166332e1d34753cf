"""What was done in a lane since its model was loaded: requests and their stages, and the batches they shared."""

import copy
import functools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from service.engine.ticket import Ticket, Timings

__all__ = ["Counts", "Statistics", "Total"]


@dataclass(slots=True)
class Total:
    """How often something happened, and how many seconds it took altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.seconds += seconds


@dataclass
class Counts:
    """The state of the statistics at one moment.

    Attributes:
        succeeded: Requests all of whose items have a result, from admission to the last of them.
        failed: Those with an item that failed or was dropped; refused ones were never admitted.
        decode: The longest that an item of each request that succeeded took to be decoded.
        queue: The same for the wait.
        inference: The same for the batch.
        batches: Runs that succeeded, by their number of items.
        last_run_at: When the last of them ended, in seconds since the epoch; 0 before the first.
    """

    succeeded: Total = field(default_factory=Total)
    failed: Total = field(default_factory=Total)
    decode: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    inference: Total = field(default_factory=Total)
    batches: dict[int, Total] = field(default_factory=dict)
    last_run_at: float = 0.0


class Statistics:
    """Counts from any thread; those of one lane, or of several that have them in common."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    def follow(self, ticket: Ticket[Any]) -> None:
        """Counts a request that was admitted, once it is settled."""
        ticket.on_settled = functools.partial(self._settled, time.perf_counter())

    def batch(self, items: int, seconds: float) -> None:
        """Counts a run that succeeded."""
        with self._lock:
            self._counts.batches.setdefault(items, Total()).add(seconds)
            self._counts.last_run_at = time.time()

    def success(self, seconds: float, timings: Timings) -> None:
        """Counts a request all of whose items have a result, that many seconds after it was admitted."""
        with self._lock:
            self._counts.succeeded.add(seconds)
            self._counts.decode.add(timings.decode_s)
            self._counts.queue.add(timings.queue_s)
            self._counts.inference.add(timings.inference_s)

    def counts(self) -> Counts:
        """A copy that changes no more."""
        with self._lock:
            return copy.deepcopy(self._counts)

    def _settled(self, admitted_at: float, ticket: Ticket[Any]) -> None:
        seconds = time.perf_counter() - admitted_at
        if ticket.succeeded:
            self.success(seconds, ticket.timings)
            return
        with self._lock:
            self._counts.failed.add(seconds)
