"""A real service on a real socket, a server that answers as it is told, and both clients behind one face."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.api.app import create_app
from service.api.settings import Settings
from simvae_client import AsyncClient, Client, Retries

NEVER = Retries(limit=0)


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[str]:
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started or app.state.repository.state == "loading":
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SIMVAE_{name.upper()}", raising=False)


@pytest.fixture(scope="session")
def address(tiny_models: Path) -> Iterator[str]:
    """A service with `tiny`, the default, and `tiny-rgb`."""
    with served(Settings(models=tiny_models, default_model="tiny")) as url:
        yield url


@pytest.fixture
def start(tiny_bundle: Path) -> Iterator[Callable[..., str]]:
    """Starts a service of one's own, with the settings given."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(served(Settings(**{"models": tiny_bundle} | settings)))


def ask_sync(url: str, method: str, *args: Any, settings: dict[str, Any], **options: Any) -> Any:
    with Client(url, **settings) as client:
        return getattr(client, method)(*args, **options)


def ask_async(url: str, method: str, *args: Any, settings: dict[str, Any], **options: Any) -> Any:
    async def ask() -> Any:
        async with AsyncClient(url, **settings) as client:
            return await getattr(client, method)(*args, **options)

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a method of either client: `ask(url, "embed", images, settings={"in_flight": 2}, normalize=True)`."""

    def call(url: str, method: str, *args: Any, settings: dict[str, Any] | None = None, **options: Any) -> Any:
        return request.param(url, method, *args, settings={"retries": NEVER} | (settings or {}), **options)

    return call


@dataclass(frozen=True)
class Reply:
    """What a `Peer` answers once; `cut` closes the connection one byte too early."""

    status: int
    content: bytes
    headers: dict[str, str]
    cut: bool


class Peer(ThreadingHTTPServer):
    """Gives its replies in turn, and keeps the path and the headers of what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.replies: list[Reply] = []
        self.asked: list[dict[str, str]] = []

    def will_answer(
        self, status: int = 200, content: bytes = b"", *, cut: bool = False, times: int = 1, **headers: str
    ) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.replies += [Reply(status, content, named, cut)] * times


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append({"path": self.path} | dict(self.headers))
        reply = self.server.replies.pop(0)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content) + reply.cut))
        self.end_headers()
        self.wfile.write(reply.content)
        self.close_connection = reply.cut

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
