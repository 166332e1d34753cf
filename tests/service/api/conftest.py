"""A real server on a real socket for every test, and a way to keep its engine busy for as long as a test needs."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.repository import Repository
from service.api.settings import Settings
from service.engine.batcher import Lane
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
        return self.repository.metrics.registry.get_sample_value(name, labels) or 0.0

    def wait_for(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            time.sleep(0.01)

    @property
    def runners(self) -> int:
        """How many batches run at a time."""
        return self.repository.get(None).runtime.runners

    @contextlib.contextmanager
    def occupied(self, items: int) -> Generator[None]:
        """Fills places of the queue, and every inference thread, until the block ends; at least one place for each."""
        engine = self.repository.get(None)
        release = threading.Event()
        work = [Work(1, release.wait)] * max(items, engine.runtime.runners)
        ticket: Ticket[Any] = Ticket(len(work))
        engine.runtime.submit(ticket, work, Lane(list, 1), engine.model.device)
        try:
            yield
        finally:
            release.set()
            ticket.future.result(20)


@contextlib.contextmanager
def run_server(settings: Settings, *, wait: bool = True) -> Generator[Running]:
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5))
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


@pytest.fixture
def client(server: Running) -> httpx.Client:
    return server.client


@pytest.fixture
def start(tiny_bundle: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server of one's own, with the settings given; `wait=False` does not wait until it has loaded."""
    with contextlib.ExitStack() as stack:

        def enter(*, wait: bool = True, **settings: Any) -> Running:
            return stack.enter_context(run_server(Settings(**{"models": tiny_bundle} | settings), wait=wait))

        yield enter
