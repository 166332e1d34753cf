"""The reading half of a stream: takes lines from the body while there is room, and gives their images to the engine."""

import asyncio
import functools

from starlette.requests import ClientDisconnect, Request

from service.api.content_encoding import coding_of, unpacked
from service.api.errors import ApiError, BodyTimeoutError, BusyError
from service.api.limits import ROOM_POLL_S, BodyShare
from service.api.ndjson import parse_line, read_lines
from service.api.repository import Repository
from service.api.threads import off_loop
from service.api.window import Entry, Window
from service.engine.engine import Engine
from service.engine.errors import NotReadyError, QueueFullError, RequestTooLargeError
from service.engine.priority import Priority
from service.engine.results import Embedding
from service.engine.ticket import Ticket

__all__ = ["LineFeed", "has_room"]

_POLL_S = 0.25


def has_room(engine: Engine) -> bool:
    """Whether a stream may add an image: all of them together leave half of the queue to other requests."""
    return engine.runtime.load < max(1, engine.runtime.max_items // 2)


class LineFeed:
    """Fills a window from the body of a request.

    Args:
        request: Its body is read here and nowhere else.
        engine: What embeds the images.
        priority: Of the images.
        window: What is filled; its end is told why reading ended.
        limit_s: How long one line may take to arrive, or one image to find room.

    Attributes:
        arrived: Set once nothing more can come.
    """

    def __init__(self, request: Request, engine: Engine, priority: Priority, window: Window, limit_s: float) -> None:
        self._request, self._engine, self._priority = request, engine, priority
        self._window, self._limit_s = window, limit_s
        self.arrived = asyncio.Event()

    async def run(self, share: BodyShare) -> None:
        """Reads to the end, or until reading fails or the server drains; then waits for the client to leave."""
        try:
            await self._read_unless_drained(share)
        except Exception as error:
            self._window.end(error)
        else:
            self._window.end()
        await self._drop_rest()
        self._window.end(ClientDisconnect())

    async def _read_unless_drained(self, share: BodyShare) -> None:
        repository: Repository = self._request.app.state.repository
        reading = asyncio.create_task(self._read(share))
        try:
            while not reading.done() and not self._window.closed:
                if repository.state == "draining":
                    raise NotReadyError("The server is ending; send the lines from 'resume_at' on to another one.")
                await asyncio.wait({reading}, timeout=_POLL_S)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()

    async def _read(self, share: BodyShare) -> None:
        max_bytes: int = self._request.app.state.settings.max_body_bytes
        lines = read_lines(unpacked(self._request.stream(), coding_of(self._request.headers)), share, max_bytes)
        while True:
            await self._window.room()
            try:
                async with asyncio.timeout(self._limit_s):
                    line = await anext(lines, None)
            except TimeoutError:
                raise BodyTimeoutError(f"No further line was complete within {self._limit_s:g} seconds.") from None
            if line is None:
                self.arrived.set()
                return
            self._window.put(Entry(line) if isinstance(line, ApiError) else await self._entry(line))

    async def _entry(self, text: bytes) -> Entry:
        line = await off_loop(len(text), functools.partial(parse_line, text))
        work: Ticket[Embedding] | Exception
        if isinstance(line.image, ApiError):
            work = line.image
        else:
            try:
                work = await self._submit(line.image)
            except RequestTooLargeError as error:
                work = error
        return Entry(work, len(text), line.id)

    async def _submit(self, image: bytes) -> Ticket[Embedding]:
        post = asyncio.get_running_loop().call_soon_threadsafe
        try:
            async with asyncio.timeout(self._limit_s):
                while True:
                    if has_room(self._engine):
                        try:
                            return self._engine.submit([image], "embed", priority=self._priority, post=post)
                        except QueueFullError:  # others have filled it, in items or in bytes
                            pass
                    await asyncio.sleep(ROOM_POLL_S)
        except TimeoutError:
            text = f"The queue had no room for another image within {self._limit_s:g} seconds."
            raise BusyError(text, self._engine.runtime.wait_s(self._priority)) from None

    async def _drop_rest(self) -> None:
        while (message := await self._request.receive())["type"] != "http.disconnect":
            if not message.get("more_body", False):
                self.arrived.set()
        self.arrived.set()
