"""The open connections of a process that may be one of several on a port: all know how many each of them has.

By that they share out those that come. One that is left with more than its part, since clients of others have gone,
gives some up: the answer to a request says that it is the last of its connection, and the connection that the client
opens for the next request goes to a process that has fewer. Knows no listener and no HTTP.
"""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, MutableSequence
from typing import Any

__all__ = ["ABSENT", "Connections"]

ABSENT = 1 << 30
"""The count of a process that takes no connections."""

_LOOK_S = 0.1
"""How often a process looks whether it has too many. What it had too many at two looks it gives up: at one look it may
be that others have not come to those that wait for them."""
_KEEP_S = 0.5
"""So long it keeps what it has, once it turned out that others do not come to what is left to them."""
_log = logging.getLogger(__name__)


class Connections(set[Any]):
    """Those that are open: whoever opens or closes one adds or discards it, as a key and no more.

    Until `open` is called, and after `close`, others are told that this process takes none.

    Args:
        counts: Connections of every process on the port, in memory that they share.
        index: This one's place there.
    """

    def __init__(self, counts: MutableSequence[int], index: int) -> None:
        super().__init__()
        self._counts, self._index = counts, index
        self._beginning: set[asyncio.Task[None]] = set()
        self._ending: set[Any] = set()
        self._taking = False
        self._look_at_s = 0.0
        self._surplus = self._to_give_up = 0
        self._tell()

    @property
    def count(self) -> int:
        """How many are open or begin."""
        return len(self) + len(self._beginning)

    @property
    def ahead(self) -> bool:
        """Whether another process has fewer."""
        return self.count > min(self._counts)

    def add(self, connection: object) -> None:
        """One more."""
        super().add(connection)
        self._tell()

    def discard(self, connection: object) -> None:
        """One less."""
        super().discard(connection)
        self._ending.discard(connection)
        self._tell()

    def begin(self, beginning: Coroutine[Any, Any, None]) -> None:
        """One more from now on, which is added before the coroutine ends, if nothing happens to it."""
        task = asyncio.get_running_loop().create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._begun)
        self._tell()

    async def wait_begun(self) -> None:
        """Until none begins."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def open(self) -> None:
        """Tells the others that this process takes connections."""
        self._taking = True
        self._tell()

    def close(self) -> None:
        """Tells the others that it takes no more."""
        self._taking = False
        self._tell()

    def keep(self) -> None:
        """Gives up none for a while, as others do not take them."""
        self._surplus = self._to_give_up = 0
        self._look_at_s = time.monotonic() + _KEEP_S

    def gives_up(self, connection: object) -> bool:
        """Whether the answer to the request at hand shall be the last of its connection, which must be told so then.

        Args:
            connection: One that is open, and would be kept.
        """
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            before, self._surplus = self._surplus, self._count_surplus()
            self._to_give_up = min(before, self._surplus)
            self._look_at_s = now_s + _LOOK_S
        if not self._to_give_up:
            return False
        self._to_give_up -= 1
        self._ending.add(connection)
        return True

    def _count_surplus(self) -> int:
        """How many it has beyond an equal part, rounded up, without those that end already."""
        taking = [count for count in self._counts if count != ABSENT]
        part = math.ceil(sum(taking) / len(taking)) if taking else self.count
        return max(0, self.count - len(self._ending) - part)

    def _begun(self, task: "asyncio.Task[None]") -> None:
        self._beginning.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.debug("A connection was lost before it began.", exc_info=task.exception())
        self._tell()

    def _tell(self) -> None:
        self._counts[self._index] = self.count if self._taking else ABSENT
