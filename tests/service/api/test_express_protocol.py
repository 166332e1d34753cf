"""Connections of the express: bodies in pieces, requests that follow each other, clients that leave, and the end."""

import contextlib
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api.connections import Connections
from service.api.express import Express
from service.api.express_queue import QueuedRequest
from service.api.repository import Repository
from service.api.settings import Settings


def plain(body: bytes, *lines: str) -> bytes:
    """A request as it goes over the wire."""
    head = "\r\n".join(["POST /embed HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines])
    return f"{head}\r\n\r\n".encode() + body


def connected(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def answer_of(connection: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(connection, method="POST")
    answer.begin()
    return answer


def test_a_body_that_comes_in_pieces_is_put_together(
    server: Any, taken: list[bytes], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.express_protocol._BODY_S", 20)
    request = plain(png)
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request[: -len(png)])
        time.sleep(0.05)
        connection.sendall(request[-len(png) :])
        assert answer_of(connection).status == 200
    assert taken == [png]


def test_a_body_that_takes_its_time_goes_the_long_way(server: Any, taken: list[bytes], png: bytes) -> None:
    request = plain(png)
    with connected(server) as connection:
        connection.sendall(request[:-20])
        time.sleep(0.3)
        connection.sendall(request[-20:])
        assert answer_of(connection).status == 200
    assert taken == []


def test_requests_that_follow_before_they_are_asked_for_are_answered_in_order(
    server: Any, taken: list[bytes], pngs: list[bytes]
) -> None:
    images = pngs[:4]
    requests = [
        plain(images[0]),
        plain(images[1], "Accept: application/x-npy"),
        plain(images[2], "X-Request-Timeout: 9.5"),
    ]
    with (
        connected(server) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(b"".join([*requests, plain(images[3])]))
        answers = list[bytes]()
        for _ in images:
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            answers.append(stream.read(int(http.client.parse_headers(stream)["content-length"])))
    expected = server.repository.get(None).embed(images).mean
    assert np.allclose(np.load(io.BytesIO(answers[1])), expected[1:2], atol=1e-5)
    rows = [json.loads(answers[number])["embeddings"][0] for number in (0, 2, 3)]
    assert np.allclose(rows, expected[[0, 2, 3]], atol=1e-5)
    assert taken == [images[0], images[1], images[3]]


def test_one_that_follows_and_never_comes_is_given_up_in_time(server: Any, taken: list[bytes], png: bytes) -> None:
    with connected(server) as connection, connection.makefile("rb") as stream:
        connection.sendall(plain(png) + plain(png, "X-Request-Timeout: 1")[:-20])
        for status in (b"200", b"408"):
            assert stream.readline().split()[1] == status
            stream.read(int(http.client.parse_headers(stream)["content-length"]))
    assert taken == [png]


def test_clients_that_leave_are_counted_and_harm_nobody(server: Any, png: bytes) -> None:
    def gone() -> float:
        count: float = server.metric("simvae_requests_total", route="/embed", code="499")
        return count

    before = gone()
    with connected(server) as connection:
        connection.sendall(plain(png)[:-20])
    server.wait_for(lambda: gone() == before + 1)
    assert server.client.post("/embed", content=png).status_code == 200


def test_a_body_that_never_comes_is_given_up_in_time(
    start: Callable[..., Any], taken: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.express._LEAST_TIMEOUT_S", 0.1)
    running = start(request_timeout_s=0.3)
    with connected(running) as connection:
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        assert answer_of(connection).status == 408
    assert taken == []


def test_a_timeout_of_seconds_is_kept_on_the_short_way(server: Any, taken: list[bytes], png: bytes) -> None:
    request = plain(png, "X-Request-Timeout: 1")
    for sent, status in ((request, 200), (request[: -len(png)], 408)):
        with connected(server) as connection:
            connection.sendall(sent)
            assert answer_of(connection).status == status
    assert taken == [png]


def test_a_request_that_comes_while_models_load_is_503(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def pause(_: Repository) -> Callable[[], None]:
        def wait() -> None:
            reached.set()
            go_on.wait(20)

        return wait

    monkeypatch.setattr(Repository, "on_loaded", property(pause, lambda *_: None), raising=False)
    running = start(wait=False)
    try:
        assert reached.wait(20)  # everything is there but the word that it is
        assert running.client.post("/embed", content=png).status_code == 503
    finally:
        go_on.set()
    running.wait_for(lambda: running.repository.state == "ready")
    assert running.client.post("/embed", content=png).status_code == 200


def test_an_answer_that_cannot_be_written_is_500_and_those_behind_it_are_told(
    server: Any, taken: list[bytes], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, left = Express.answer, [1]

    def fail_once(self: Express, *given: Any) -> bytes:
        if left:
            left.clear()
            raise RuntimeError("out of order")
        return answer(self, *given)

    monkeypatch.setattr(Express, "answer", fail_once)
    with connected(server) as first, connected(server) as second:
        first.sendall(plain(png))
        second.sendall(plain(png))
        assert sorted(answer_of(each).status for each in (first, second)) == [200, 500]
    assert len(taken) == 2


def test_who_leaves_the_queue_frees_the_place_and_is_counted(
    slow: Any, queued: list[QueuedRequest], png: bytes
) -> None:
    with slow.occupied(2) as busy:
        with connected(slow) as connection:
            connection.sendall(plain(png))
            slow.wait_for(lambda: slow.metric("simvae_queue_items") == busy + 1)
        slow.wait_for(lambda: slow.metric("simvae_dropped_total", reason="client-gone") == 1)
    slow.wait_for(lambda: slow.metric("simvae_queue_items") == 0)
    assert len(queued) == 1
    assert slow.metric("simvae_requests_total", route="/embed", code="499") == 1


@pytest.fixture
def crowded(run: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[int]]]:
    """A server that takes itself for one of two, and how many connections it and the other have."""
    monkeypatch.setattr("service.api.connections._LOOK_S", 0)
    counts = [0, 0]
    connections = Connections(counts, 0)
    connections.open()
    with run(Settings(models=tiny_bundle), connections=connections) as running:
        yield running, counts


@pytest.mark.parametrize("query", ["", "?variance=true", "?model=nobody"], ids=["short way", "long way", "refused"])
def test_one_that_has_too_many_connections_gives_them_up_with_whole_answers(
    crowded: tuple[Any, list[int]], png: bytes, query: str
) -> None:
    running, counts = crowded
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(running)) for _ in range(4)]
        running.wait_for(lambda: counts[0] == 4)
        told = []
        for client in clients[:3]:
            client.sendall(plain(png).replace(b"/embed", b"/embed" + query.encode(), 1))
            answer = answer_of(client)
            assert json.loads(answer.read())
            told.append(answer.getheader("connection"))
        assert [client.recv(1) for client in clients[1:3]] == [b"", b""]
        assert told == [None, "close", "close"]
        running.wait_for(lambda: counts[0] == 2)
        counts[1] = 2
        for client in (clients[0], clients[3]):
            client.sendall(plain(png))
            answer = answer_of(client)
            assert answer.read()
            assert answer.getheader("connection") is None


def test_a_connection_whose_body_still_comes_is_not_given_up(crowded: tuple[Any, list[int]], png: bytes) -> None:
    """A client that still sends when a connection is closed is reset, and may lose the answer."""
    running, counts = crowded
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(running)) for _ in range(4)]
        running.wait_for(lambda: counts[0] == 4)
        lost = plain(png).replace(b"/embed", b"/nowhere", 1)
        for client in clients[:2]:
            for sent in (lost[:-20], lost[-20:] + lost[:-20]):
                client.sendall(sent)
                answer = answer_of(client)
                assert answer.read()
                assert (answer.status, answer.getheader("connection")) == (404, None)
