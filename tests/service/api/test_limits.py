"""Bytes, room and time: what a request may cost, and what becomes of clients that are slow, greedy or gone."""

import base64
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

HEAD = "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


@contextlib.contextmanager
def connected(running: Any) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        yield connection


def read_answer(connection: socket.socket) -> str:
    """Head and body of one answer, whose length must be declared."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += _more(connection)
    return (head + b"\r\n\r\n" + body).decode()


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection was closed before the answer"
    return data


def test_a_declared_length_beyond_the_limit_is_refused_before_a_byte_of_it(start: Callable[..., Any]) -> None:
    running = start(max_body_bytes=1000)
    with connected(running) as connection:
        connection.sendall(f"{HEAD}Content-Length: 1001\r\n\r\n".encode())
        answer = read_answer(connection)
    assert answer.startswith("HTTP/1.1 413 ")
    assert "urn:simvae:problem:body-too-large" in answer
    assert "1,001 bytes" in answer


def test_a_chunked_body_is_refused_the_moment_it_passes_the_limit(start: Callable[..., Any]) -> None:
    running = start(max_body_bytes=1000)
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    with connected(running) as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + 3 * chunk)  # and no end
        answer = read_answer(connection)
    assert answer.startswith("HTTP/1.1 413 ")
    assert running.app.state.budget.held_bytes == 0


def test_a_multipart_body_is_held_to_the_same_limit(start: Callable[..., Any]) -> None:
    running = start(max_body_bytes=1000)
    answer = running.client.post("/embed", files={"f": b"x" * 1000})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:simvae:problem:body-too-large")


def test_a_body_of_exactly_the_limit_is_accepted(start: Callable[..., Any], png: bytes) -> None:
    client = start(max_body_bytes=len(png)).client
    assert client.post("/embed", content=png).status_code == 200
    assert client.post("/embed", content=iter([png])).status_code == 200
    assert client.post("/embed", content=png + b"x").status_code == 413


def test_a_body_that_stops_half_way_is_answered_and_its_connection_closed(start: Callable[..., Any]) -> None:
    running = start(request_timeout_s=0.5)
    with connected(running) as connection:
        connection.sendall(f"{HEAD}Content-Length: 100\r\n\r\nhalf of it".encode())
        answer = read_answer(connection)
        assert connection.recv(1) == b""
    assert answer.startswith("HTTP/1.1 408 ")
    assert "urn:simvae:problem:body-timeout" in answer
    assert running.app.state.budget.held_bytes == 0


def test_a_slow_body_that_arrives_in_time_is_served(server: Any, png: bytes) -> None:
    def drip() -> Iterator[bytes]:
        for start in range(0, len(png), 200):
            time.sleep(0.01)
            yield png[start : start + 200]

    assert server.client.post("/embed", content=drip()).status_code == 200


def test_a_client_that_leaves_half_way_holds_nothing(server: Any) -> None:
    gone = {"route": "/embed", "code": "499"}
    before = server.metric("simvae_requests_total", **gone)
    with connected(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: 100\r\n\r\nhalf of it".encode())
        server.wait_for(lambda: server.app.state.budget.held_bytes == 10)
    server.wait_for(lambda: server.metric("simvae_requests_total", **gone) == before + 1)
    assert server.app.state.budget.held_bytes == 0


def test_bodies_together_never_hold_more_than_the_budget(start: Callable[..., Any], png: bytes) -> None:
    running = start(max_queue_bytes=len(png) + 50)
    with connected(running) as connection:
        connection.sendall(f"{HEAD}Content-Length: 200\r\n\r\n".encode() + b"x" * 100)
        running.wait_for(lambda: running.app.state.budget.held_bytes == 100)
        busy = running.client.post("/embed", content=png)
        assert busy.status_code == 429
        assert int(busy.headers["retry-after"]) >= 1
    running.wait_for(lambda: running.app.state.budget.held_bytes == 0)
    assert running.client.post("/embed", content=png).status_code == 200


def test_a_full_queue_is_429_with_a_whole_number_of_seconds_and_then_recovers(
    start: Callable[..., Any], png: bytes
) -> None:
    running = start(queue_items=4)
    with running.occupied(4):
        answer = running.client.post("/embed", content=png)
        assert answer.status_code == 429
        assert answer.json()["type"] == "urn:simvae:problem:busy"
        assert int(answer.headers["retry-after"]) >= 1
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.client.post("/embed", content=png).status_code == 200
    assert running.metric("simvae_rejected_total", reason="busy") == 1


def test_a_request_larger_than_the_queue_is_413_because_waiting_cannot_help(
    start: Callable[..., Any], png: bytes
) -> None:
    running = start(queue_items=4)
    answer = running.client.post("/embed", json={"images": [base64.b64encode(png).decode()] * 5})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:simvae:problem:request-too-large")


@pytest.mark.parametrize(("setting", "header"), [(30.0, "0.2"), (0.2, "30"), (0.2, None)])
def test_the_deadline_is_the_nearer_of_the_setting_and_the_header(
    setting: float, header: str | None, start: Callable[..., Any], png: bytes
) -> None:
    running = start(request_timeout_s=setting)
    headers = {} if header is None else {"X-Request-Timeout": header}
    with running.occupied(1) as busy:
        answer = running.client.post("/embed", content=png, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:simvae:problem:too-late")
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.metric("simvae_items_total") == busy  # those that kept it busy: ours was dropped, not run
    assert running.metric("simvae_dropped_total", reason="too-late") == 1
    assert running.client.post("/embed", content=png).status_code == 200


@pytest.mark.parametrize("header", ["0", "-1", "soon", "nan", ""])
def test_a_deadline_that_is_no_positive_number_is_refused(header: str, client: httpx.Client, png: bytes) -> None:
    answer = client.post("/embed", content=png, headers={"X-Request-Timeout": header})
    assert answer.status_code == 400
    assert "X-Request-Timeout" in answer.json()["detail"]


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_a_client_that_goes_away_frees_its_places_and_is_not_run(
    start: Callable[..., Any], png: bytes, priority: str
) -> None:
    running = start(queue_items=8)
    with running.occupied(1) as busy:
        with connected(running) as connection:
            body = PAIR % (png, png)
            head = HEAD.replace("image/png", "multipart/form-data; boundary=x")
            head = head.replace("/embed", f"/embed?priority={priority}")
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            running.wait_for(lambda: running.metric("simvae_queue_items") == busy + 2)
            assert running.metric("simvae_queue_bulk_items") == (2 if priority == "bulk" else 0)
        running.wait_for(lambda: running.metric("simvae_dropped_total", reason="client-gone") == 1)
        assert running.app.state.budget.held_bytes == 0
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.metric("simvae_items_total") == busy
    assert running.client.post("/embed", content=png).status_code == 200


PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n%b\r\n'
PAIR = PART + PART + b"--x--\r\n"


def test_a_large_body_is_answered_while_small_ones_go_on(server: Any, make_image: Callable[..., bytes]) -> None:
    large = make_image("BMP", size=(1500, 1500), mode="RGB")
    small = make_image()
    text = base64.b64encode(large).decode()
    with ThreadPoolExecutor(4) as pool:
        big = [pool.submit(server.client.post, "/embed", json={"images": [text, text]}) for _ in range(3)]
        assert {server.client.post("/embed", content=small).status_code for _ in range(20)} == {200}
    vectors = [future.result().json()["embeddings"] for future in big]
    assert vectors[0] == vectors[1] == vectors[2]
    assert server.app.state.budget.held_bytes == 0
