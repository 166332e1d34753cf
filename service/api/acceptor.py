"""Takes the connections of a listener that several processes may share, so that each has about as many.

Left to itself the kernel deals them out by chance: of four connections to two processes all go to the same one in every
eighth case, and one core does the work of two. Here a process that has more connections than another leaves the next
one to that other, for a moment: if nobody has taken it by then, all are busy, and it is taken after all.

Knows no HTTP.
"""

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from service.api.connections import Connections

__all__ = ["Acceptor"]

_LOOK_S, _LOOKS = 0.002, 10
"""How often one that leaves a connection to others looks whether it is its turn by now, as somebody waits to be
taken, and how many looks they have, as a busy process needs a moment to come back to its listener. Looks, and not
seconds: when the whole machine stands still, nobody has had the time."""
_AT_ONCE = 128
"""Turns of the loop are long under load: if one took few, of many clients that come at once the last would wait."""
_LEFT_OVER = 8
"""Of what others leave a process takes an eighth of what it has, so that it gets no further ahead than by that."""
_PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class Acceptor:
    """Watches a listener on the running event loop, until it is closed.

    Args:
        listener: Listens; it becomes non-blocking, and is closed with this.
        protocol: Makes the protocol of a connection, which adds itself to `connections` and discards itself at its end.
        connections: Of this process, which know of those of others.
    """

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], connections: Connections
    ) -> None:
        self._listener, self._protocol, self._connections = listener, protocol, connections
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._looks = 0
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)
        listener.setblocking(False)
        connections.open()
        self._watch()

    def close(self) -> None:
        """Takes no more."""
        self._connections.close()
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        """Until those that were taken have their protocols."""
        await self._connections.wait_begun()

    def _watch(self) -> None:
        self._loop.add_reader(self._listener, self._take)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        """Looks away, as the loop would call again in every turn."""
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, then)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            if self._connections.ahead:
                self._leave()
                return
            self._looks = 0
            if not self._accept():
                return

    def _leave(self) -> None:
        """To others, unless they have had time for it and nobody has taken it."""
        if self._looks < _LOOKS:
            self._looks += 1
            self._rest(_LOOK_S, self._look_again)
            return
        self._looks = 0
        self._connections.keep()
        for _ in range(1 + self._connections.count // _LEFT_OVER):
            if not self._accept():
                return

    def _look_again(self) -> None:
        self._watch()
        if not self._waiting.poll(0):
            self._looks = 0

    def _accept(self) -> bool:
        """False when there is nothing to take, or no means to."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError:  # too many open files, for one: every turn would find the same
            _log.exception("A connection cannot be taken; the next try is in a second.")
            self._rest(_PAUSE_S, self._watch)
            return False
        self._connections.begin(self._begin(connection))
        return True

    async def _begin(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.connect_accepted_socket(self._protocol, connection)
