"""An answer that is written while the request is still being read."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.engine.errors import DeadlineExceededError

__all__ = ["DuplexResponse", "Writer"]


class Writer:
    """Sends the parts of one answer, each as soon as the client has read enough of those before.

    Attributes:
        started: Whether anything was sent, so that the status cannot change any more.
        stalled: Whether the client stopped reading, so that nothing more can be sent.
    """

    def __init__(self, start: Message, send: Send, limit_s: float) -> None:
        self._start, self._send_message, self._limit_s = start, send, limit_s
        self.started = self.stalled = False

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Sends a part, after the status and the headers if it is the first one.

        Raises:
            DeadlineExceededError: The client did not read for too long.
        """
        if not self.started:
            await self._send(self._start)
            self.started = True
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._send_message(message)
        except TimeoutError:
            self.stalled = True
            raise DeadlineExceededError(f"The answer was not read for {self._limit_s:g} seconds.") from None


class DuplexResponse(Response):
    """A response whose body is written by a function that reads the request meanwhile.

    Starlette's StreamingResponse listens for the client's leaving while it sends, and would take the body for that.

    Args:
        produce: Writes the body and says whether it is whole; if it is not, the connection is closed without the mark
            of the end, so that no client takes it for whole. What it raises before it writes is answered as a problem.
        headers: Sent before the body.
        media_type: Of the body.
        limit_s: How long the client may not read.
    """

    def __init__(
        self,
        produce: Callable[[Writer], Awaitable[bool]],
        headers: Mapping[str, str],
        media_type: str,
        limit_s: float,
    ) -> None:
        self._produce, self._limit_s = produce, limit_s
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the interface
        """Sends the answer."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        writer = Writer(start, send, self._limit_s)
        if await self._produce(writer):
            with contextlib.suppress(DeadlineExceededError):
                await writer.write(b"", last=True)
