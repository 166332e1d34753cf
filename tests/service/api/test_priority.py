"""Priorities over HTTP: how a request says which it has, and what is refused, how early, and with what advice."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
import structlog

BUSY = (429, "urn:simvae:problem:busy")


@pytest.fixture
def full(start: Callable[..., Any]) -> Iterator[Any]:
    """A server whose queue has no room until the test ends."""
    running = start(queue_items=4)
    with running.occupied(4):
        yield running


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"]


def stages(running: Any, priority: str) -> float:
    count: float = running.metric("simvae_stage_duration_seconds_count", stage="queue", priority=priority)
    return count


def test_the_priority_is_an_option_like_the_others_and_interactive_when_absent(
    start: Callable[..., Any], png: bytes
) -> None:
    running = start()
    images = {"images": [base64.b64encode(png).decode()]}
    plain = running.client.post("/embed", content=png).json()["embeddings"]
    for request in (
        {"content": png, "params": {"priority": "bulk"}},
        {"json": images | {"priority": "bulk"}},
        {"files": {"f": png}, "data": {"priority": "bulk"}},
    ):
        assert running.client.post("/embed", **request).json()["embeddings"] == plain
    assert running.client.post("/embed", content=png, params={"priority": "interactive"}).json()["embeddings"] == plain
    wrong = running.client.post("/embed", content=png, params={"priority": "urgent"})
    assert wrong.status_code == 400
    assert "'urgent'" in wrong.json()["detail"]
    for path, files in (("/reconstruct", {"f": png}), ("/similarity", {"left": png})):
        assert running.client.post(path, files=files, params={"priority": "bulk"}).status_code == 200
    assert (stages(running, "bulk"), stages(running, "interactive")) == (5, 2)
    assert running.metric("simvae_bulk_requests_total", route="/embed", code="200") == 3
    assert running.metric("simvae_requests_total", route="/embed", code="200") == 5


@pytest.mark.parametrize(("params", "priority"), [({}, "bulk"), ({"priority": "interactive"}, "interactive")])
def test_a_stream_is_bulk_unless_it_says_otherwise(
    start: Callable[..., Any], streaming: Callable[..., Any], png: bytes, params: dict[str, str], priority: str
) -> None:
    running = start()
    line = json.dumps({"image": base64.b64encode(png).decode()}).encode() + b"\n"
    with streaming(running, **params) as stream:
        with running.occupied(1) as busy:
            stream.send(line * 3)
            stream.finish()
            running.wait_for(lambda: running.metric("simvae_queue_items") == busy + 3)
            assert running.metric("simvae_queue_bulk_items") == (3 if priority == "bulk" else 0)
        assert len(stream.rest()) == 3
    running.wait_for(lambda: stages(running, priority) == 1)


def test_bulk_is_refused_while_interactive_requests_are_admitted(start: Callable[..., Any], png: bytes) -> None:
    running = start(queue_items=8)
    image = base64.b64encode(png).decode()
    with ThreadPoolExecutor(1) as pool, running.occupied(6):
        for request in (
            {"content": png, "params": {"priority": "bulk"}},
            {"json": {"images": [image], "priority": "bulk"}},
        ):
            answer = running.client.post("/embed", **request)
            assert kind(answer) == BUSY
            assert int(answer.headers["retry-after"]) >= 1
        admitted = pool.submit(running.client.post, "/embed", files=[("f", png)] * 2)
        running.wait_for(lambda: admitted.done() or running.metric("simvae_queue_items") == 8)
    assert admitted.result().status_code == 200
    assert running.metric("simvae_bulk_requests_total", route="/embed", code="429") == 2


def test_bodies_of_bulk_leave_a_quarter_of_the_memory_to_others(start: Callable[..., Any], png: bytes) -> None:
    running = start(max_queue_bytes=4 * len(png))
    head = f"POST /embed?priority=bulk HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * len(png)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(head.encode() + b"x" * (3 * len(png)))
        running.wait_for(lambda: running.app.state.budget.held_bytes == 3 * len(png))
        assert kind(running.client.post("/embed", content=png, params={"priority": "bulk"})) == BUSY
        assert running.client.post("/embed", content=png).status_code == 200


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Content-Length: 5\r\nExpect: 100-continue"])
def test_a_full_queue_is_told_before_the_body_and_the_connection_serves_on(full: Any, framing: str) -> None:
    head = f"POST /embed HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", full.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(head)  # and no body yet
            answer = HTTPResponse(connection, method="POST")
            answer.begin()
            problem = json.loads(answer.read())
            assert (answer.status, problem["type"]) == BUSY
            assert int(answer.headers["Retry-After"]) >= 1
            connection.sendall(b"GET /")  # the body: dropped, and not taken for a request
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        alive = HTTPResponse(connection)
        alive.begin()
        assert alive.status == 200


def test_a_client_that_sends_megabytes_to_a_full_queue_reads_the_refusal(full: Any) -> None:
    for body in (bytes(8 * 2**20), iter([bytes(2**20)] * 8)):
        assert kind(full.client.post("/embed", content=body)) == BUSY
    assert full.app.state.budget.held_bytes == 0


def test_a_flood_of_refusals_is_counted_and_does_not_flood_the_log(
    full: Any, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as lines:
        for priority in ("interactive", "bulk"):
            assert kind(full.client.post("/embed", content=png, params={"priority": priority})) == BUSY
    refusals = [line for line in lines if line["event"] == "request"]
    assert [line["log_level"] for line in refusals] == ["debug", "debug"]
    assert [line.get("priority") for line in refusals] == [None, "bulk"]
    assert full.metric("simvae_rejected_total", reason="busy") == 2


def test_embeddings_that_are_there_already_need_no_room(full: Any) -> None:
    given = {"embedding": [1.0, 0.0, 0.0, 0.0]}
    answer = full.client.post("/similarity", json={"left": [given], "metrics": ["cosine"]})
    assert answer.json()["similarity"] == {"cosine": [[1.0]]}


def test_what_could_not_be_done_in_time_is_refused_at_once(start: Callable[..., Any], png: bytes) -> None:
    running = start()
    with running.occupied(100):
        answer = running.client.post("/embed", content=png, headers={"X-Request-Timeout": "0.5"})
    assert kind(answer) == BUSY
    assert "too much for an answer within" in answer.json()["detail"]
    assert running.metric("simvae_rejected_total", reason="busy") == 1
