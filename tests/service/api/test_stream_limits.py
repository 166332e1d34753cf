"""Streams under load: room, memory, time, and clients that are slow, silent or gone."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest

Streaming = Callable[..., Any]
STATM = Path("/proc/self/statm")


@pytest.fixture
def line(png: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(png).decode()}).encode() + b"\n"


@pytest.fixture
def long_answer(png: bytes) -> bytes:
    """A line whose answer has about 1 kB, so that a few thousand of them fill the buffers of a connection."""
    return json.dumps({"image": base64.b64encode(png).decode(), "id": "x" * 1000}).encode() + b"\n"


def broken_off(stream: Any) -> dict[str, Any]:
    """The last line of an answer whose end is missing."""
    with pytest.raises(IncompleteRead) as error:
        stream.begin().read()
    last: dict[str, Any] = json.loads(error.value.partial.splitlines()[-1])
    return last


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_20000_images_take_no_more_memory_than_2000_and_other_requests_go_on(
    start: Callable[..., Any], streaming: Streaming, make_image: Callable[..., bytes], png: bytes
) -> None:
    running = start(queue_items=256)
    images = [make_image(size=(60, 60), seed=seed) for seed in range(20)]
    lines = [
        json.dumps({"image": base64.b64encode(image).decode(), "id": "x" * 99}).encode() + b"\n" for image in images
    ]
    with streaming(running) as stream, ThreadPoolExecutor(1) as pool:

        def send() -> None:
            for _ in range(1000):
                stream.send(b"".join(lines))
            stream.finish()

        sent = pool.submit(send)
        for index in range(20_000):
            assert stream.line()["index"] == index
            if index == 2000:
                before = resident_bytes()
            if index % 500 == 0:
                assert running.client.post("/embed", content=png).status_code == 200
        grown = resident_bytes() - before
        sent.result()
        assert stream.rest() == []
    assert sum(map(len, lines)) * 900 > 60 * 2**20  # what would have been kept, were it kept
    assert grown < 20 * 2**20


def test_a_client_that_does_not_read_is_not_read_from(
    start: Callable[..., Any], streaming: Streaming, long_answer: bytes
) -> None:
    running = start(max_batch=4)
    count = 15_000
    with streaming(running) as stream, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: [stream.send(long_answer * 10) for _ in range(count // 10)] and stream.finish())
        done = -1.0
        while done != (done := running.metric("simvae_items_total")) or not done:
            time.sleep(0.5)
        assert done < count
        assert not sent.done()
        assert running.app.state.budget.held_bytes <= 10 * len(long_answer)
        assert running.metric("simvae_queue_items") <= 8
        assert len(stream.rest()) == count
        sent.result()


def test_a_stream_waits_for_room_and_streams_together_leave_half_of_the_queue_to_others(
    start: Callable[..., Any], streaming: Streaming, line: bytes, png: bytes
) -> None:
    running = start(queue_items=8, decode_threads=1)
    with streaming(running) as one, streaming(running) as two, ThreadPoolExecutor(1) as pool:
        for stream in (one, two):
            stream.send(line)
            assert stream.line()["index"] == 0
        with running.occupied(1):
            for stream in (one, two):
                stream.send(line * 30)
            running.wait_for(lambda: running.metric("simvae_queue_items") == 4)
            time.sleep(0.2)
            assert running.metric("simvae_queue_items") == 4
            other = pool.submit(running.client.post, "/embed", files=[("f", png)] * 4)
            running.wait_for(lambda: other.done() or running.metric("simvae_queue_items") == 8)
        assert other.result().status_code == 200
        for stream in (one, two):
            stream.finish()
            assert [each["index"] for each in stream.rest()] == list(range(1, 31))


def test_without_any_room_a_stream_is_refused_before_it_begins(start: Callable[..., Any], line: bytes) -> None:
    running = start(queue_items=4)
    headers = {"Content-Type": "application/x-ndjson"}
    with running.occupied(2):
        answer = running.client.post("/embed", content=line, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:simvae:problem:busy")
    assert int(answer.headers["retry-after"]) >= 1
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.client.post("/embed", content=line, headers=headers).status_code == 200


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_a_client_that_goes_away_frees_its_places_and_is_not_run(
    start: Callable[..., Any], streaming: Streaming, line: bytes, priority: str
) -> None:
    running = start()
    with streaming(running, priority=priority) as stream:
        stream.send(line)
        stream.line()
        with running.occupied(1) as busy:
            stream.send(line * 5)
            running.wait_for(lambda: running.metric("simvae_queue_items") == busy + 5)
            stream.answer.close()
            stream.socket.close()
            running.wait_for(lambda: running.app.state.budget.held_bytes == 0)
            running.wait_for(lambda: running.metric("simvae_dropped_total", reason="client-gone") == 1)
        running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
        assert running.metric("simvae_items_total") == 1 + busy  # its first line, and what kept the threads busy


def test_a_client_that_goes_away_with_its_answer_unread_frees_everything(
    start: Callable[..., Any], streaming: Streaming, long_answer: bytes
) -> None:
    running = start()
    with streaming(running) as stream, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: [stream.send(long_answer * 10) for _ in range(2000)])
        running.wait_for(lambda: running.metric("simvae_items_total") > 500)
        stream.answer.close()
        stream.socket.shutdown(2)
        stream.socket.close()
        assert isinstance(sent.exception(), OSError)
    running.wait_for(lambda: running.metric("simvae_dropped_total", reason="client-gone") == 1)
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.app.state.budget.held_bytes == 0


def test_silence_ends_a_stream_with_where_to_go_on(
    start: Callable[..., Any], streaming: Streaming, line: bytes
) -> None:
    running = start(request_timeout_s=0.5)
    with streaming(running) as stream:
        stream.send(line * 2 + line[:-9])
        assert [stream.line()["index"], stream.line()["index"]] == [0, 1]
        last = broken_off(stream)
    assert (last["resume_at"], last["error"]["type"]) == (2, "urn:simvae:problem:body-timeout")
    assert running.app.state.budget.held_bytes == 0


def test_silence_before_the_first_line_is_an_ordinary_problem(start: Callable[..., Any], streaming: Streaming) -> None:
    with streaming(start(), {"X-Request-Timeout": "0.3"}) as stream:
        assert stream.begin().status == 408


def test_the_limit_is_for_each_step_and_not_for_the_whole(
    start: Callable[..., Any], streaming: Streaming, line: bytes
) -> None:
    with streaming(start(request_timeout_s=0.5)) as stream:
        for index in range(6):
            time.sleep(0.2)
            stream.send(line)
            assert stream.line()["index"] == index
        stream.finish()
        assert stream.rest() == []


def test_an_engine_that_stands_still_ends_a_stream_with_where_to_go_on(
    start: Callable[..., Any], streaming: Streaming, line: bytes
) -> None:
    running = start(request_timeout_s=0.5, decode_threads=1)
    with streaming(running) as stream:
        stream.send(line)
        stream.line()
        with running.occupied(1) as busy:
            stream.send(b"bad\n" + line * 3)
            assert stream.line()["error"]["status"] == 400
            last = broken_off(stream)
            assert (last["resume_at"], last["error"]["type"]) == (2, "urn:simvae:problem:too-late")
    running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
    assert running.metric("simvae_items_total") == 1 + busy
    assert running.metric("simvae_dropped_total", reason="too-late") == 1


def test_a_client_that_stops_reading_for_too_long_holds_nothing_any_more(
    start: Callable[..., Any], streaming: Streaming, long_answer: bytes
) -> None:
    running = start(request_timeout_s=0.5)
    with streaming(running) as stream, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: [stream.send(long_answer * 10) for _ in range(2000)])
        running.wait_for(lambda: running.metric("simvae_dropped_total", reason="too-late") == 1)
        assert running.app.state.budget.held_bytes == 0
        running.wait_for(lambda: running.metric("simvae_queue_items") == 0)
        stream.socket.shutdown(2)
        sent.exception()  # cut off, or all of it was sent and thrown away


def test_a_drain_answers_what_was_read_and_says_where_to_go_on(
    start: Callable[..., Any], streaming: Streaming, line: bytes
) -> None:
    running = start(decode_threads=1)
    with streaming(running) as stream:
        stream.send(line)
        stream.line()
        with running.occupied(1) as busy:
            stream.send(line * 3)
            running.wait_for(lambda: running.metric("simvae_queue_items") == busy + 3)
            running.repository.begin_drain()
            time.sleep(0.5)
            stream.send(line * 3)
        assert [stream.line()["index"] for _ in range(3)] == [1, 2, 3]
        last = broken_off(stream)
    assert (last["resume_at"], last["error"]["type"]) == (4, "urn:simvae:problem:not-ready")


def test_large_lines_in_flight_are_bounded_in_bytes(
    start: Callable[..., Any], streaming: Streaming, png: bytes
) -> None:
    running = start(max_body_bytes=100_000)
    padded = b'{"image": "%b"}\n' % base64.b64encode(png.ljust(30_000, b"\0"))
    with streaming(running) as stream, running.occupied(1) as busy, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: [stream.send(padded) for _ in range(100)])
        running.wait_for(lambda: running.metric("simvae_queue_items") == busy + 3)  # three of 40,000 bytes
        time.sleep(0.3)
        assert running.metric("simvae_queue_items") == busy + 3
        assert running.app.state.budget.held_bytes < 200_000
        stream.socket.shutdown(2)
        sent.exception()
