"""NDJSON on `/embed`: what a stream says, line by line; how it behaves under load is in test_stream_limits.py."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import structlog

MakeImage = Callable[..., bytes]
NDJSON = {"Content-Type": "application/x-ndjson"}


def line_of(image: bytes, **fields: Any) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode()} | fields).encode() + b"\n"


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_first_line_is_answered_before_the_last_is_sent(
    server: Any, streaming: Callable[..., Any], images: list[bytes]
) -> None:
    with streaming(server) as stream:
        for index, image in enumerate(images):
            stream.send(line_of(image)[:100])
            stream.send(line_of(image)[100:])
            assert stream.line()["index"] == index
        stream.finish()
        assert stream.rest() == []


def test_headers_say_what_answers_before_any_embedding_is_read(server: Any, images: list[bytes]) -> None:
    card = server.client.get("/models/tiny").json()
    answer = server.client.post("/embed", content=line_of(images[0]), headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-model"] == "tiny@1"
    assert answer.headers["x-model-fingerprint"] == card["fingerprint"]
    assert answer.headers["x-embedding-dim"] == "4"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "ubinary"])
@pytest.mark.parametrize("options", [{}, {"normalize": True, "encoding": "base64"}, {"variance": True}])
def test_every_option_gives_what_it_gives_in_json(
    dtype: str, options: dict[str, Any], client: httpx.Client, images: list[bytes]
) -> None:
    options = {"dtype": dtype, "model": "tiny@1"} | options
    texts = [base64.b64encode(image).decode() for image in images]
    whole = client.post("/embed", json={"images": texts} | options).json()
    lines = answers(client.post("/embed", content=b"".join(map(line_of, images)), headers=NDJSON, params=options))
    assert [line["embedding"] for line in lines] == whole["embeddings"]
    assert [line.get("variance") for line in lines] == whole.get("variances", [None] * 3)
    assert {line.get("scale") for line in lines} == {whole.get("scale")}
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert all("error" not in line and "id" not in line for line in lines)


def test_a_thousand_lines_are_answered_in_order_with_their_own_ids_and_embeddings(
    client: httpx.Client, make_image: MakeImage
) -> None:
    some = [make_image(seed=seed) for seed in range(10)]
    files = [("file", image) for image in some]
    expected = client.post("/embed", files=files).json()["embeddings"]
    body = b"".join(line_of(some[index % 10], id=f"n{index}") for index in range(1000))
    lines = answers(client.post("/embed", content=body, headers=NDJSON))
    assert [line["index"] for line in lines] == list(range(1000))
    assert [line["id"] for line in lines] == [f"n{index}" for index in range(1000)]
    np.testing.assert_allclose([line["embedding"] for line in lines], expected * 100, atol=1e-6)


def test_bad_lines_have_their_own_problems_and_disturb_no_others(
    start: Callable[..., Any], images: list[bytes]
) -> None:
    running = start(max_body_bytes=20_000)
    good = line_of(images[0])
    bad: list[tuple[bytes, int, str]] = [
        (b"{broken", 400, "malformed-request"),
        (b"\xff\xfe", 400, "malformed-request"),
        (b'{"image": "YQ==", "model": "tiny"}', 400, "malformed-request"),
        (b'{"image": "?"}', 400, "malformed-request"),
        (b'{"image": "YQ=="}', 415, "unsupported-image-format"),
        (b'{"image": ""}', 422, "undecodable-image"),
        (line_of(images[1][:300]).strip(), 422, "undecodable-image"),
        (b"x" * 20_001, 413, "body-too-large"),
        (b'{"image": [' + b"[]," * 5000 + b"1]}", 413, "too-many-items"),
    ]
    body = good + b"".join(text + b"\n" + good for text, _, _ in bad)
    lines = answers(running.client.post("/embed", content=body, headers=NDJSON))
    assert [line["index"] for line in lines] == list(range(2 * len(bad) + 1))
    assert [line["embedding"] for line in lines[::2]] == [lines[0]["embedding"]] * (len(bad) + 1)
    for line, (text, status, name) in zip(lines[1::2], bad, strict=True):
        assert set(line) == {"index", "error"}
        error = line["error"]
        assert (error["status"], error["type"]) == (status, f"urn:simvae:problem:{name}"), text[:30]
        assert set(error) == {"type", "title", "status", "detail"}
    assert running.metric("simvae_image_errors_total", kind="undecodable-image") == 2
    assert running.app.state.budget.held_bytes == 0


def test_a_failure_of_the_model_on_one_image_is_that_lines_alone(
    start: Callable[..., Any], images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    model = running.repository.get(None).model
    encode = model.encode

    def fail(pixels: Any, **options: Any) -> Any:
        if (pixels == 0).all(axis=(1, 2, 3)).any():
            raise ValueError("secret internals")
        return encode(pixels, **options)

    monkeypatch.setattr(model, "encode", fail)
    black = base64.b64decode(BLACK)
    lines = answers(
        running.client.post("/embed", content=b"".join(map(line_of, [images[0], black, images[2]])), headers=NDJSON)
    )
    assert [("embedding" in line) for line in lines] == [True, False, True]
    assert lines[1]["error"]["status"] == 500
    assert "secret" not in lines[1]["error"]["detail"]


BLACK = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAGElEQVR4nGNgGAWjYBSMglEwCkbBKBiMAAAGHAABWQAlnAAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \t\r\n\n"])
@pytest.mark.parametrize("last", [True, False])
def test_crlf_blank_lines_and_a_missing_last_end_change_nothing(
    end: bytes, last: bool, client: httpx.Client, images: list[bytes]
) -> None:
    body = end.join(line_of(image).strip() for image in images) + (end if last else b"")
    assert [line["index"] for line in answers(client.post("/embed", content=body, headers=NDJSON))] == [0, 1, 2]


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n"])
def test_no_lines_have_no_answers(body: bytes, client: httpx.Client) -> None:
    answer = client.post("/embed", content=body, headers=NDJSON)
    assert answers(answer) == []
    assert answer.headers["x-model"] == "tiny@1"


@pytest.mark.parametrize("name", ["application/x-ndjson", "application/jsonl", "application/jsonlines"])
def test_each_name_of_the_format_is_taken_and_given(name: str, client: httpx.Client, images: list[bytes]) -> None:
    headers = {"Content-Type": f"{name}; charset=utf-8", "Accept": name}
    answer = client.post("/embed", content=line_of(images[0]), headers=headers)
    assert answer.headers["content-type"] == name
    assert len(answers(answer)) == 1


def test_a_packed_stream_gives_the_same(client: httpx.Client, images: list[bytes]) -> None:
    body = b"".join(map(line_of, images))
    plain = client.post("/embed", content=body, headers=NDJSON)
    packed = client.post("/embed", content=gzip.compress(body), headers=NDJSON | {"Content-Encoding": "gzip"})
    assert answers(packed) == answers(plain)


def test_a_line_that_swells_beyond_the_limit_is_one_error_and_never_held(
    start: Callable[..., Any], images: list[bytes]
) -> None:
    running = start(max_body_bytes=100_000, max_queue_bytes=200_000)
    body = gzip.compress(line_of(images[0]) + bytes(30_000_000) + b"\n" + line_of(images[1]))
    first, swollen, last = answers(
        running.client.post("/embed", content=body, headers=NDJSON | {"Content-Encoding": "gzip"})
    )
    assert swollen["error"]["type"] == "urn:simvae:problem:body-too-large"
    assert "embedding" in first
    assert "embedding" in last
    assert running.app.state.budget.held_bytes == 0


@pytest.mark.parametrize(
    ("status", "headers", "params"),
    [
        (406, {"Accept": "application/json"}, {}),
        (400, {}, {"on_error": "skip"}),
        (400, {}, {"dtype": "int4"}),
        (400, {"X-Request-Timeout": "soon"}, {}),
        (404, {}, {"model": "other"}),
        (415, {"Content-Encoding": "br"}, {}),
    ],
)
def test_what_can_be_refused_at_once_is_an_ordinary_problem(
    status: int, headers: dict[str, str], params: dict[str, str], client: httpx.Client, images: list[bytes]
) -> None:
    answer = client.post("/embed", content=line_of(images[0]), headers=NDJSON | headers, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_model_without_a_scale_refuses_int8_before_the_first_line(
    start: Callable[..., Any], make_bundle: Callable[..., Path], images: list[bytes]
) -> None:
    client = start(models=make_bundle(embedding={"tau2": None, "calibration": None})).client
    answer = client.post("/embed", content=line_of(images[0]), headers=NDJSON, params={"dtype": "int8"})
    assert answer.status_code == 400
    normal = {"dtype": "int8", "normalize": "true"}
    assert len(answers(client.post("/embed", content=line_of(images[0]), headers=NDJSON, params=normal))) == 1


@pytest.mark.parametrize("path", ["/reconstruct", "/similarity"])
def test_other_routes_take_no_lines(path: str, client: httpx.Client, images: list[bytes]) -> None:
    assert client.post(path, content=line_of(images[0]), headers=NDJSON).status_code == 415


def test_damage_in_the_middle_ends_the_stream_after_what_was_whole(
    server: Any, streaming: Callable[..., Any], images: list[bytes]
) -> None:
    with streaming(server, {"Content-Encoding": "gzip"}) as stream:
        stream.send(gzip.compress(line_of(images[0])))
        assert stream.line()["index"] == 0
        stream.send(gzip.compress(line_of(images[1])) + b"no member")
        assert stream.line()["index"] == 1
        last = stream.line()
        assert last["resume_at"] == 2
        assert last["error"]["type"] == "urn:simvae:problem:malformed-request"


def test_the_log_and_the_metrics_count_lines(
    start: Callable[..., Any], images: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    running = start()
    with structlog.testing.capture_logs() as lines:
        running.client.post("/embed", content=b"".join(map(line_of, images)) + b"bad\n", headers=NDJSON)
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["items"], line["route"]) == (200, 4, "/embed")
    assert "problem" not in line
    assert running.metric("simvae_items_total") == 3
    assert running.metric("simvae_requests_total", route="/embed", code="200") == 1
    assert running.metric("simvae_stage_duration_seconds_count", stage="inference", priority="bulk") == 1
