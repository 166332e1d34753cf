"""A kept-alive connection that never blocks, with one request at a time. Whose turn it is, others decide."""

import contextlib
import socket

from httptools import HttpParserError, HttpResponseParser

from serving.request import Request

__all__ = ["Connection"]

_BUFFER = memoryview(bytearray(1 << 16))
"""Read into by all connections in turn: what was read is parsed at once, and a new buffer for each read costs more."""


class Connection:
    """A socket and the exchange that goes on over it.

    Args:
        port: Of the server, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))  # whether it succeeds, the first byte will tell
        self._parser = HttpResponseParser(self)
        self._unsent = memoryview(b"")
        self._heard = self._whole = self._kept_alive = False
        self._exchanges = 0
        self.closed = False
        self.status = 0
        self.retry_after_s: float | None = None
        self.request: Request | None = None
        self.due_s = self.sent_s = self.patient_until_s = 0.0

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @property
    def writing(self) -> bool:
        """Whether bytes of the request wait for room in the socket."""
        return bool(self._unsent) and not self.closed

    @property
    def answered(self) -> bool:
        """Whether the whole answer is here."""
        return self._whole

    @property
    def stale(self) -> bool:
        """Whether the server had closed it for being idle, so that the request was never looked at."""
        return self.closed and not self._heard and self._exchanges > 1

    def begin(self, request: Request, due_s: float, now_s: float) -> None:
        """Sends a request, as far as the socket takes it."""
        self.request, self.due_s, self.sent_s = request, due_s, now_s
        self.patient_until_s = now_s + request.patience_s
        self._heard = self._whole = False
        self.retry_after_s = None
        self._exchanges += 1
        self._unsent = memoryview(request.content)
        self.write()

    def write(self) -> None:
        """Sends more of the request; a server that stopped reading may have answered all the same."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = memoryview(b"")

    def read(self) -> None:
        """Takes what arrived; `answered` or `closed` may be true afterwards."""
        try:
            size = self._socket.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.close()
            return
        self._heard = True
        try:
            self._parser.feed_data(_BUFFER[:size])
        except HttpParserError:
            self.close()
        if self._whole and (self._unsent or not self._kept_alive):
            self.close()

    def close(self) -> None:
        """Hangs up."""
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if len(name) == 11 and name.lower() == b"retry-after":
            self.retry_after_s = float(value)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole = True
        self.status = self._parser.get_status_code()
        self._kept_alive = self._parser.should_keep_alive()  # the parser forgets it after this call
