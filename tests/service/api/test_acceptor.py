"""Processes that share a listener have about as many connections each, and nobody waits long to be taken."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from service.api.acceptor import Acceptor
from service.api.connections import ABSENT, Connections
from service.api.listening import BACKLOG, ListenError, bind, start
from service.api.settings import Settings


class Connection(asyncio.Protocol):
    """Adds itself to those of its process while it is open."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.connections.discard(self)


class Process:
    """What stands for a process here: an acceptor and its connections, on the loop that all share."""

    def __init__(self, listener: socket.socket, counts: list[int], index: int) -> None:
        self.connections = Connections(counts, index)
        self.acceptor = Acceptor(listener.dup(), lambda: Connection(self.connections), self.connections)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        yield listener


@contextlib.contextmanager
def clients(listener: socket.socket, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(count)]


async def until(condition: object, limit_s: float = 10.0) -> float:
    """Seconds until a callable is true."""
    start = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - start < limit_s, "the condition did not come true in time"
        await asyncio.sleep(0.001)
    return time.monotonic() - start


@pytest.mark.parametrize("pause_s", [0.0, 0.01])
def test_connections_are_shared_evenly_whether_they_come_at_once_or_one_by_one(
    listener: socket.socket, pause_s: float
) -> None:
    async def share() -> list[int]:
        processes = [Process(listener, counts, index) for index in range(2)]
        with contextlib.ExitStack() as stack:
            for number in range(10):
                stack.enter_context(clients(listener, 1))
                if pause_s:
                    await until(lambda number=number: sum(counts) == number + 1)
            await until(lambda: sum(len(each.connections) for each in processes) == 10)
            found = [len(each.connections) for each in processes]
        for each in processes:
            each.acceptor.close()
        return found

    counts = [0, 0]
    assert uvloop.run(share()) == [5, 5]
    assert counts == [ABSENT, ABSENT]


def test_a_process_that_does_not_come_to_it_keeps_nobody_waiting(listener: socket.socket) -> None:
    async def take() -> float:
        process = Process(listener, counts, 0)
        with clients(listener, 100):
            taken_s = await until(lambda: len(process.connections) == 100)
        process.acceptor.close()
        return taken_s

    counts = [0, 0]  # the other has none, and takes none
    assert uvloop.run(take()) < 5
    assert counts == [ABSENT, 0]


@pytest.mark.parametrize(
    ("looks", "others_then", "wanted_s"),
    [(30_000, 1, 1.0), (150, 0, 5.0)],
    ids=["taken when it is this one's turn", "taken when nobody else has time"],
)
def test_what_is_left_to_another_is_looked_at_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, looks: int, others_then: int, wanted_s: float
) -> None:
    monkeypatch.setattr("service.api.acceptor._LOOKS", looks)

    async def take() -> float:
        process = Process(listener, counts, 0)
        with clients(listener, 1):
            await until(lambda: len(process.connections) == 1)
            with clients(listener, 1):
                await asyncio.sleep(0.1)
                assert len(process.connections) == 1  # the other has none, and it is left to it
                counts[1] = others_then
                taken_s = await until(lambda: len(process.connections) == 2)
        process.acceptor.close()
        return taken_s

    counts = [0, 0]
    assert uvloop.run(take()) < wanted_s


def test_connections_that_end_make_room(listener: socket.socket) -> None:
    async def share() -> int:
        processes = [Process(listener, counts, index) for index in range(2)]
        with clients(listener, 4):
            await until(lambda: sum(len(each.connections) for each in processes) == 4)
        await until(lambda: not any(each.connections for each in processes))
        with clients(listener, 2):
            await until(lambda: sum(len(each.connections) for each in processes) == 2)
            most = max(len(each.connections) for each in processes)
        for each in processes:
            each.acceptor.close()
        return most

    counts = [0, 0]
    assert uvloop.run(share()) == 1


def test_want_of_descriptors_is_logged_and_outlived(
    listener: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.acceptor._PAUSE_S", 0.1)

    class Exhausted(socket.socket):
        failures = 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def take() -> None:
        shared = Exhausted(fileno=listener.dup().detach())
        connections = Connections([0], 0)
        acceptor = Acceptor(shared, lambda: Connection(connections), connections)
        with clients(listener, 1):
            await until(lambda: len(connections) == 1)
        acceptor.close()

    uvloop.run(take())
    assert "cannot be taken" in caplog.text


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, listener: socket.socket) -> None:
    settings = Settings(models=tmp_path, port=listener.getsockname()[1])
    with pytest.raises(ListenError, match=r"Choose another with --host and --port"):
        bind(settings)


def test_what_is_bound_keeps_nobody_waiting_before_it_listens(tmp_path: Path) -> None:
    with bind(Settings(models=tmp_path, port=0)) as bound, pytest.raises(ConnectionRefusedError):
        socket.create_connection(bound.getsockname())


def test_of_two_that_bound_a_port_the_one_that_listens_later_is_told(tmp_path: Path) -> None:
    with (
        bind(Settings(models=tmp_path, port=0)) as first,
        bind(Settings(models=tmp_path, port=first.getsockname()[1])) as second,
    ):
        start(first)
        with pytest.raises(ListenError, match=r"Choose another with --host and --port"):
            start(second)
