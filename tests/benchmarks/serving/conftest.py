"""A server that does what the path says, for the client's sake."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

STALL_S = 0.3
CROWD = 5


class Peer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.connections = 0
        self.seen: Counter[str] = Counter()
        self.body_bytes = 0
        self.left = threading.Event()
        self.crowd = threading.Barrier(CROWD)

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        """A client may leave in the middle: that is what is tested."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def setup(self) -> None:
        super().setup()
        self.requests = 0

    def do_POST(self) -> None:
        self.requests += 1
        self.server.seen[self.path] += 1
        if self.path != "/early":
            self.server.body_bytes += len(self.rfile.read(int(self.headers["Content-Length"])))
        getattr(self, self.path[1:])()

    def answer(self, status: int = 200, content: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def ok(self) -> None:
        self.answer()

    def busy(self) -> None:
        self.answer(429, retry_after="3")

    def stall_first(self) -> None:
        if self.server.seen[self.path] == 1:
            time.sleep(STALL_S)
        self.answer()

    def crowd(self) -> None:
        self.server.crowd.wait(30)
        self.answer()

    def chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"first", b"second", b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def broken(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def mute(self) -> None:
        self.close_connection = True

    def only_once(self) -> None:
        if self.requests > 1:
            self.close_connection = True
        else:
            self.answer()

    def early(self) -> None:
        self.answer(413, connection="close")

    def silent(self) -> None:
        if not self.rfile.read(1):
            self.server.left.set()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with contextlib.ExitStack() as stack:
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            yield server
