"""The lines of a stream between being read and being answered: a bounded number of lines and bytes, in order.

Touched on the event loop only. Knows neither HTTP nor JSON.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from service.api.limits import BodyShare
from service.api.ndjson import LineId
from service.engine.errors import DeadlineExceededError
from service.engine.results import Embedding
from service.engine.ticket import Ticket

__all__ = ["Entry", "Window"]


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """A line on its way.

    Attributes:
        work: Its image in the engine, or what was wrong before it came there.
        size_bytes: What it holds of the share.
        id: The client's own name for it.
    """

    work: Ticket[Any] | Exception
    size_bytes: int = 0
    id: LineId | None = None

    @property
    def done(self) -> bool:
        """Whether it can be answered."""
        return isinstance(self.work, Exception) or self.work.future.done()

    @property
    def outcome(self) -> Embedding | Exception:
        """What the answer is, once it is done."""
        if isinstance(self.work, Exception):
            return self.work
        outcome: Embedding | Exception = self.work.future.result()[0]
        return outcome


class Window:
    """A queue with one that fills it and one that empties it.

    Args:
        share: Gets the bytes of entries back when they leave.
        max_lines: The most entries.
        max_bytes: With so many bytes in it, nothing more is let in.
        limit_s: How long the first entry may take.

    Attributes:
        closed: Whether nothing that is put will be answered any more.
    """

    def __init__(self, share: BodyShare, *, max_lines: int, max_bytes: int, limit_s: float) -> None:
        self._share, self._max_lines, self._max_bytes, self._limit_s = share, max_lines, max_bytes, limit_s
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.closed = False
        self._ended = False
        self._error: Exception | None = None
        self._moved_at = 0.0
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()

    async def room(self) -> None:
        """Waits until another entry may be put; for ever, once it is closed."""
        while self.closed or (
            self._entries and (len(self._entries) >= self._max_lines or self._bytes >= self._max_bytes)
        ):
            self._emptied.clear()
            await self._emptied.wait()

    def put(self, entry: Entry) -> None:
        """Adds an entry behind all others."""
        if not self._entries:
            self._moved_at = asyncio.get_running_loop().time()
        self._entries.append(entry)
        self._bytes += entry.size_bytes
        if isinstance(entry.work, Ticket):
            entry.work.future.add_done_callback(lambda _: self._filled.set())
        self._filled.set()

    def end(self, error: Exception | None = None) -> None:
        """Says that no more entries come, and why, if it is not the end; that the client went away needs no waiting."""
        self._ended, self._error = True, error
        self._filled.set()

    async def ready(self, most: int) -> Sequence[Entry]:
        """Waits for the first entries that are done, which stay where they are; none at the end.

        Raises:
            DeadlineExceededError: The first one took too long.
            Exception: What `end` was told, after all entries; `ClientDisconnect` at once.
        """
        while True:
            self._filled.clear()
            if isinstance(self._error, ClientDisconnect):
                raise self._error
            done = list(itertools.islice(itertools.takewhile(lambda entry: entry.done, self._entries), most))
            if done or (self._ended and not self._entries):
                if not done and self._error is not None:
                    raise self._error
                return done
            try:
                async with asyncio.timeout_at(self._moved_at + self._limit_s if self._entries else None):
                    await self._filled.wait()
            except TimeoutError:
                raise DeadlineExceededError(f"No line was done within {self._limit_s:g} seconds.") from None

    def remove(self, count: int) -> None:
        """Drops the first entries, which were answered."""
        for _ in range(count):
            entry = self._entries.popleft()
            self._bytes -= entry.size_bytes
            self._share.shrink(entry.size_bytes)
        self._moved_at = asyncio.get_running_loop().time()
        self._emptied.set()

    def close(self) -> None:
        """Drops what is left: images that no batch has started are not run any more."""
        self.closed = True
        for entry in self._entries:
            if isinstance(entry.work, Ticket):
                entry.work.cancel()
        self.remove(len(self._entries))
