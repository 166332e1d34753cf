"""A request's place in the queue: its items, what became of each, and how the one who waits is told.

Knows nothing of how items are decoded or run.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from service.engine.errors import DeadlineExceededError, EngineError, RequestCancelledError
from service.engine.images import ImageError
from service.engine.priority import Priority

__all__ = ["Item", "Post", "Ticket", "Timings", "announce", "settle"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Post = Callable[[Callable[[], None]], object]
"""Runs a function in the thread that waits, as `loop.call_soon_threadsafe` does."""


@dataclass(frozen=True)
class Timings:
    """Seconds in each phase: for an item, what it took; for a ticket, the longest that any of its items took.

    Attributes:
        decode_s: To pixels, the wait for a decode thread included.
        queue_s: The wait for a free runner.
        inference_s: Of the batch.
    """

    decode_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0

    def longest(self, other: "Timings") -> "Timings":
        """The longer of the two, phase by phase."""
        return Timings(
            max(self.decode_s, other.decode_s),
            max(self.queue_s, other.queue_s),
            max(self.inference_s, other.inference_s),
        )


class Ticket(Generic[T]):
    """A request that was admitted.

    Attributes:
        size: How many items it has.
        future: One outcome per item, in order: a result, or the error that befell that item alone. Never raises,
            except `CancelledError` after `cancel`.
        post: How to reach the thread that waits; the future is set there. None sets it wherever the work ended.
        soon: How that thread has something done after what is due there, where it is an event loop's.
        on_settled: Called with the ticket when its last item is settled, before the future is set.
    """

    def __init__(
        self,
        size: int,
        *,
        deadline_s: float | None = None,
        post: Post | None = None,
        soon: Post | None = None,
    ) -> None:
        self.future: Future[list[T | ImageError | EngineError]] = Future()
        self.post = post
        self.soon = soon
        self.on_settled: Callable[[Ticket[T]], None] | None = None
        self.size = self._open = size
        self._decode_s = self._queue_s = self._inference_s = 0.0
        self._outcomes: list[Any] = [None] * size
        self._deadline = None if deadline_s is None else time.monotonic() + deadline_s
        self._lock = threading.Lock()
        if not size:
            self.future.set_result([])

    def cancel(self) -> bool:
        """Drops every item that no batch has started; cancelling the future does the same. False when it is done."""
        return self.future.cancel()

    def refusal(self) -> EngineError | None:
        """Why work on this ticket should not be started any more, if so."""
        if self.future.cancelled():
            return RequestCancelledError("The request was cancelled before this item was started.")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return DeadlineExceededError("The deadline passed before this item was started; send less, or wait longer.")
        return None

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline, negative after it; None where there is none."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    @property
    def timings(self) -> Timings:
        """Of the items so far; complete once the future is done."""
        return Timings(self._decode_s, self._queue_s, self._inference_s)

    @property
    def succeeded(self) -> bool:
        """Whether every item has a result and somebody wants it; of a ticket that is settled."""
        return not self.future.cancelled() and not any(isinstance(outcome, Exception) for outcome in self._outcomes)

    def settle(self, outcomes: "Iterable[tuple[Item, object]]", now: float) -> bool:
        """Notes what became of some items, at a moment of `time.perf_counter`. True when they were the last."""
        with self._lock:
            for item, outcome in outcomes:
                self._outcomes[item.index] = outcome
                decode_s, queue_s, inference_s = item.took(now)
                self._decode_s = max(self._decode_s, decode_s)
                self._queue_s = max(self._queue_s, queue_s)
                self._inference_s = max(self._inference_s, inference_s)
                self._open -= 1
            return not self._open

    def resolve(self) -> None:
        """Sets the future, unless it was cancelled."""
        if self.on_settled is not None:
            self.on_settled(self)
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(self._outcomes)


@dataclass(eq=False, slots=True)
class Item:
    """One image of a ticket on its way; the times are of `time.perf_counter`.

    Attributes:
        size_bytes: What it reserved.
        priority: As which it reserved that.
        payload: What the batch will see; nothing before it is decoded, where it has to be.
        decode: What makes the payload; nothing where it is there.
        taken_at: When it was taken into a batch before it was decoded, for items that are decoded there.
    """

    ticket: Ticket[Any]
    index: int
    size_bytes: int
    payload: Any = None
    decode: Callable[[], object] | None = None
    priority: Priority = "interactive"
    admitted_at: float = field(default_factory=time.perf_counter)
    taken_at: float | None = None
    decoded_at: float | None = None
    started_at: float | None = None

    def took(self, now: float) -> tuple[float, float, float]:
        """Seconds of its decoding, its wait and its batch, which ended now; lets go of what it carried."""
        self.payload = self.decode = None
        started_at = now if self.started_at is None else self.started_at
        if self.taken_at is None:
            decoded_at = now if self.decoded_at is None else self.decoded_at
            return decoded_at - self.admitted_at, started_at - decoded_at, now - started_at
        # It waited first and was decoded then; what it waits for in between is the decoding of others.
        return started_at - self.taken_at, self.taken_at - self.admitted_at, now - started_at


def settle(outcomes: Iterable[tuple[Item, object]]) -> list[Ticket[Any]]:
    """Notes what became of items, those of a ticket at once; returns the tickets that are finished, to be announced."""
    now = time.perf_counter()
    by_ticket = itertools.groupby(outcomes, key=lambda outcome: outcome[0].ticket)
    return [ticket for ticket, own in by_ticket if ticket.settle(own, now)]


def announce(tickets: Iterable[Ticket[Any]]) -> None:
    """Sets the futures of finished tickets, waking each waiting thread once however many of them are its own."""
    by_post: dict[Post | None, list[Ticket[Any]]] = {}
    for ticket in tickets:
        by_post.setdefault(ticket.post, []).append(ticket)
    for post, finished in by_post.items():
        _tell(post, finished)


def _tell(post: Post | None, finished: list[Ticket[Any]]) -> None:
    def resolve() -> None:
        for ticket in finished:
            ticket.resolve()

    if post is None:
        return resolve()
    try:
        post(resolve)
    except Exception:  # the event loop is closed: nobody waits there, but the future must not stay open
        _log.warning("The thread that waits cannot be reached.", exc_info=True)
        resolve()
    return None
