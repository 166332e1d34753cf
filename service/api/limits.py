"""What a request may cost before it reaches the engine: bytes, memory and time, checked while the body arrives."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect, Request

from service.api.content_encoding import coding_of, unpacked
from service.api.errors import BodyTimeoutError, BodyTooLargeError, BusyError, RequestError, TooManyItemsError
from service.engine.priority import Priority, room

__all__ = ["ROOM_POLL_S", "Body", "BodyBudget", "BodyShare", "Deadline", "check_count", "patience_s"]

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


@dataclass
class BodyBudget:
    """The bytes of request bodies held in memory at one moment, by all requests together.

    Touched on the event loop only, so it needs no lock.

    Attributes:
        max_bytes: The sum that is never exceeded.
    """

    max_bytes: int
    held_bytes: int = field(default=0, init=False)

    def share(self, priority: Priority) -> "BodyShare":
        """What one request holds: nothing yet."""
        return BodyShare(self, priority)


@dataclass
class BodyShare:
    """What one request holds of the budget, of which bulk leaves a quarter to others.

    As a context manager it gives all of it back at the end.
    """

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shrink(self.held_bytes)

    def _fits(self, count: int) -> bool:
        return self.budget.held_bytes + count <= room(self.budget.max_bytes, self.priority)


def check_count(count: int, max_items: int) -> None:
    """Raises TooManyItemsError beyond the limit; called before anything is made of the items."""
    if count > max_items:
        raise TooManyItemsError(
            f"The request has {count:,} items; at most {max_items:,} are accepted, so send several."
        )


class Body:
    """A request's body, read no further than the limits go.

    Args:
        request: Not read yet.
        share: Grows with the body.
        max_bytes: Of the body once it is unpacked.
        deadline: By when it must be complete.

    Raises:
        BodyTooLargeError: The declared length is beyond the limit.
        UnsupportedEncodingError: It is packed in another way than those that are accepted.

    Both ways of reading it raise:
        BodyTooLargeError: What was unpacked so far is more than `max_bytes`.
        BodyTimeoutError: It was not complete at the deadline.
        BusyError: There is no memory for it now.
        RequestError: It cannot be unpacked.
        ClientDisconnect: The rest will not come.
    """

    def __init__(self, request: Request, share: "BodyShare", max_bytes: int, deadline: Deadline) -> None:
        self._receive, self._share, self._max_bytes, self._deadline = request.receive, share, max_bytes, deadline
        self._coding = coding_of(request.headers)
        self._size = 0
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise BodyTooLargeError(f"The body has {int(declared):,} bytes; at most {max_bytes:,} are accepted.")

    async def read(self) -> bytes:
        """All of it."""
        if self._coding != "identity":
            return b"".join([piece async for piece in self.pieces()])
        pieces, more = list[bytes](), True
        while more:  # without the generators below, which cost as much as reading a small image does
            piece, more = await self._arrived()
            self._count(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """As it arrives and is unpacked."""
        async for piece in unpacked(self._arriving(), self._coding):
            self._count(piece)
            yield piece

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_bytes:
            found = "" if self._coding == "identity" else " once it is unpacked"
            raise BodyTooLargeError(f"The body has more than the {self._max_bytes:,} bytes that are accepted{found}.")
        if not self._deadline.left_s:
            raise self._too_late()
        self._share.grow(len(piece))

    async def _arriving(self) -> AsyncGenerator[bytes]:
        more = True
        while more:
            piece, more = await self._arrived()
            if piece:
                yield piece

    async def _arrived(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self._deadline.left_s):
                message = await self._receive()
        except TimeoutError:
            raise self._too_late() from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)

    def _too_late(self) -> BodyTimeoutError:
        return BodyTimeoutError(f"The body was not complete in time; {self._size:,} bytes of it had arrived.")
