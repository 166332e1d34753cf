"""What a request may cost before it reaches the engine: bytes, memory and time, checked while the body arrives."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from service.api.content_encoding import coding_of, unpacked
from service.api.errors import BodyTimeoutError, BodyTooLargeError, BusyError, RequestError, TooManyItemsError
from service.engine.priority import Priority, room

__all__ = ["ROOM_POLL_S", "BodyBudget", "BodyShare", "Deadline", "bounded_stream", "check_count", "patience_s"]

TIMEOUT_HEADER = "X-Request-Timeout"
ROOM_POLL_S = 0.02
"""How often a stream that waits for room looks for it."""


def patience_s(request: Request, limit_s: float) -> float:
    """The server's limit, or less where the client asked for less.

    Raises:
        RequestError: The header is not a positive number of seconds.
    """
    header = request.headers.get(TIMEOUT_HEADER)
    if header is None:
        return limit_s
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise RequestError(f"{TIMEOUT_HEADER}: expected a positive number of seconds, found {header!r}.")
    return min(seconds, limit_s)


@dataclass(frozen=True)
class Deadline:
    """The moment after which nobody waits for the answer any more."""

    at: float

    @classmethod
    def of(cls, request: Request, limit_s: float) -> "Deadline":
        """So many seconds from the moment the request arrived; see `patience_s`, also for what it raises."""
        return cls(request.state.arrived + patience_s(request, limit_s))

    @property
    def left_s(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.at - time.monotonic())

    def check(self) -> None:
        """Raises TimeoutError once it has passed."""
        if not self.left_s:
            raise TimeoutError


@dataclass
class BodyBudget:
    """The bytes of request bodies held in memory at one moment, by all requests together.

    Touched on the event loop only, so it needs no lock.

    Attributes:
        max_bytes: The sum that is never exceeded.
    """

    max_bytes: int
    held_bytes: int = field(default=0, init=False)

    @asynccontextmanager
    async def hold(self, priority: Priority) -> AsyncGenerator["BodyShare"]:
        """A share that grows with the body and is given back at the end of the request."""
        share = BodyShare(self, priority)
        try:
            yield share
        finally:
            self.held_bytes -= share.held_bytes


@dataclass
class BodyShare:
    """What one request holds of the budget, of which bulk leaves a quarter to others."""

    budget: BodyBudget
    priority: Priority = "interactive"
    held_bytes: int = field(default=0, init=False)

    def grow(self, count: int) -> None:
        """Takes more bytes.

        Raises:
            BusyError: All requests together would hold more than the budget.
        """
        if not self._fits(count):
            raise BusyError("The server holds as many request bytes as it may; try again in a moment.", retry_after_s=1)
        self.budget.held_bytes += count
        self.held_bytes += count

    async def grow_when_free(self, count: int) -> None:
        """Takes more bytes as soon as others have given back enough; whoever calls it says for how long."""
        while not self._fits(count):
            await asyncio.sleep(ROOM_POLL_S)
        self.grow(count)

    def shrink(self, count: int) -> None:
        """Gives bytes back before the end of the request."""
        self.budget.held_bytes -= count
        self.held_bytes -= count

    def _fits(self, count: int) -> bool:
        return self.budget.held_bytes + count <= room(self.budget.max_bytes, self.priority)


def check_count(count: int, max_items: int) -> None:
    """Raises TooManyItemsError beyond the limit; called before anything is made of the items."""
    if count > max_items:
        raise TooManyItemsError(
            f"The request has {count:,} items; at most {max_items:,} are accepted, so send several."
        )


async def bounded_stream(
    request: Request, share: BodyShare, max_bytes: int, deadline: Deadline
) -> AsyncGenerator[bytes]:
    """The body as it arrives and is unpacked, stopped the moment it breaks a limit.

    Raises:
        BodyTooLargeError: The declared length, or what was unpacked so far, exceeds `max_bytes`.
        BodyTimeoutError: It was not complete at the deadline.
        BusyError: There is no memory for it now.
        RequestError: It cannot be unpacked.
        UnsupportedEncodingError: It is packed in another way than those that are accepted.
    """
    coding = coding_of(request.headers)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise BodyTooLargeError(f"The body has {int(declared):,} bytes; at most {max_bytes:,} are accepted.")
    size = 0
    try:
        async for piece in unpacked(_arriving(request, deadline), coding):
            size += len(piece)
            if size > max_bytes:
                found = "" if coding == "identity" else " once it is unpacked"
                raise BodyTooLargeError(f"The body has more than the {max_bytes:,} bytes that are accepted{found}.")
            deadline.check()
            share.grow(len(piece))
            yield piece
    except TimeoutError:
        raise BodyTimeoutError(f"The body was not complete in time; {size:,} bytes of it had arrived.") from None


async def _arriving(request: Request, deadline: Deadline) -> AsyncGenerator[bytes]:
    more = True
    while more:
        async with asyncio.timeout(deadline.left_s):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk
