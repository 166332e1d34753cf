"""A real server on a real socket for every test, and a way to keep its engine busy for as long as a test needs."""

import contextlib
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.connections import Connections
from service.api.express_protocol import express_protocol
from service.api.express_queue import QueuedRequest
from service.api.repository import Repository
from service.api.settings import Settings
from service.engine.images import Pixels, encode_png
from service.engine.lane import Lane
from service.engine.prompt import Prompt
from service.engine.runtime import Work
from service.engine.ticket import Ticket


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    app: FastAPI
    port: int
    client: httpx.Client

    @property
    def repository(self) -> Repository:
        repository: Repository = self.app.state.repository
        return repository

    def metric(self, name: str, **labels: str) -> float:
        self.repository.metrics.flush()
        return self.repository.metrics.registry.get_sample_value(name, labels) or 0.0

    def wait_for(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            time.sleep(0.01)

    @contextlib.contextmanager
    def occupied(self, items: int) -> Generator[int]:
        """Keeps every inference thread busy until the block ends, with at least so many items; gives their number."""
        engine = self.repository.get(None)
        release = threading.Event()
        work = [Work(1, release.wait, small=True)] * max(items, engine.runtime.runners)
        ticket: Ticket[Any] = Ticket(len(work))
        engine.runtime.submit(ticket, work, Lane(list, 1), engine.model.device)
        try:
            yield len(work)
        finally:
            release.set()
            ticket.future.result(20)


class Stream:
    """A POST of lines whose body is sent and whose answer is read at the same time, which httpx does one by one.

    Attributes:
        answer: Its status and headers are there from the first `line` on.
    """

    def __init__(self, port: int, headers: dict[str, str], params: dict[str, Any]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        given = {"Host": "x", "Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.socket.sendall(f"POST /embed?{urllib.parse.urlencode(params)} HTTP/1.1\r\n{head}\r\n".encode())
        self.answer = HTTPResponse(self.socket, method="POST")
        self._begun = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def begin(self) -> HTTPResponse:
        if not self._begun:
            self.answer.begin()
            self._begun = True
        return self.answer

    def line(self) -> dict[str, Any]:
        """The next line of the answer, as soon as it is there."""
        line: dict[str, Any] = json.loads(self.begin().readline())
        return line

    def rest(self) -> list[dict[str, Any]]:
        """Every further line, until the answer has come to its end; `IncompleteRead` if it breaks off before."""
        return [json.loads(line) for line in self.begin().read().splitlines()]


@contextlib.contextmanager
def run_server(settings: Settings, *, wait: bool = True, connections: Connections | None = None) -> Generator[Running]:
    app = create_app(settings)
    connections = Connections([0], 0) if connections is None else connections
    http: Any = express_protocol(app, connections)
    config = uvicorn.Config(app, http=http, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    server.server_state.connections = connections
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port: int = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            running = Running(app, port, client)
            if wait:
                running.wait_for(lambda: running.repository.state != "loading")
            yield running
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests must not change them."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SIMVAE_{name.upper()}", raising=False)


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[Running]:
    """The server most tests share: two models, `tiny` the default, every other setting as shipped."""
    with run_server(Settings(models=tiny_models, default_model="tiny")) as running:
        yield running


@pytest.fixture(scope="session")
def run() -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """Runs a server of given settings, for tests that share one of their own."""
    return run_server


@pytest.fixture
def client(server: Running) -> httpx.Client:
    return server.client


@pytest.fixture
def images(make_image: Callable[..., bytes]) -> list[bytes]:
    """Images that need decoding, converting and resizing."""
    return [
        make_image(seed=1),
        make_image("JPEG", size=(60, 40), mode="RGB", seed=2),
        make_image(size=(28, 28), mode="RGBA", seed=3),
    ]


@pytest.fixture
def start(tiny_bundle: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server of one's own, with the settings given; `wait=False` does not wait until it has loaded."""
    with contextlib.ExitStack() as stack:

        def enter(*, wait: bool = True, **settings: Any) -> Running:
            return stack.enter_context(run_server(Settings(**{"models": tiny_bundle} | settings), wait=wait))

        yield enter


@pytest.fixture
def streaming() -> Callable[..., contextlib.AbstractContextManager[Stream]]:
    """Opens a stream: `with streaming(running, {"Content-Encoding": "gzip"}, variance=True) as stream`."""

    @contextlib.contextmanager
    def enter(running: Running, headers: dict[str, str] | None = None, **params: Any) -> Iterator[Stream]:
        stream = Stream(running.port, headers or {}, params)
        try:
            yield stream
        finally:
            stream.answer.close()
            stream.socket.close()

    return enter


@pytest.fixture
def pngs() -> list[bytes]:
    """Forty plain images of the model's size."""
    rng = np.random.default_rng(1)
    return [encode_png(rng.integers(0, 256, (28, 28, 1), dtype=np.uint8)) for _ in range(40)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images that went past the queue; of a block its bytes."""
    images: list[bytes] = []
    put = Prompt.put

    def note(self: Prompt, image: bytes | Pixels, *rest: Any) -> None:
        images.append(image if isinstance(image, bytes) else image.tobytes())
        put(self, image, *rest)

    monkeypatch.setattr(Prompt, "put", note)
    return images


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[QueuedRequest]:
    """The requests that went through the queue on the shortest way."""
    requests: list[QueuedRequest] = []
    begin = QueuedRequest.__init__

    def note(self: QueuedRequest, *given: Any) -> None:
        requests.append(self)
        begin(self, *given)

    monkeypatch.setattr(QueuedRequest, "__init__", note)
    return requests


@pytest.fixture
def slow(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose model is not quick, and whose queue has room for four."""
    monkeypatch.setattr("service.api.repository.QUICK_S", 0.0)
    monkeypatch.setattr("service.engine.runtime.QUICK_S", 0.0)
    running = start(queue_items=4)
    assert running.repository.prompt is None
    return running
