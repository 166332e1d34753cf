"""The shortest way: the same answers as the long way, for requests that ask for nothing, and for no others."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.express_queue import QueuedRequest
from service.engine.images import Pixels
from service.engine.prompt import Prompt
from service.engine.runtime import Runtime
from service.engine.statistics import Counts

LONG_WAY = {"X-Request-Timeout": "29.5"}
OWN = {"server-timing", "x-request-id", "date"}


def npy(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def block(count: int, *shape: int) -> Pixels:
    return np.random.default_rng(2).integers(0, 256, (count, *(shape or (28, 28, 1))), dtype=np.uint8)


def head(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


def test_both_ways_give_the_same_bytes_and_headers(client: httpx.Client, taken: list[bytes], pngs: list[bytes]) -> None:
    image = pngs[0]
    short, long = client.post("/embed", content=image), client.post("/embed", content=image, headers=LONG_WAY)
    assert taken == [image]
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    assert head(short) == head(long)
    names = [part.split(";")[0] for part in short.headers["server-timing"].split(", ")]
    assert names == ["decode", "queue", "inference"]


@pytest.mark.parametrize("accept", ["application/x-npy", "application/json"])
@pytest.mark.parametrize("sent", ["image", "block"])
def test_a_block_of_pixels_goes_it_too_and_answers_come_as_json_or_npy(
    client: httpx.Client, taken: list[bytes], pngs: list[bytes], sent: str, accept: str
) -> None:
    pixels = block(5)
    body, kind = (npy(pixels), "application/x-npy") if sent == "block" else (pngs[0], "image/png")
    headers = {"Content-Type": kind, "Accept": accept}
    short, long = (client.post("/embed", content=body, headers={**headers, **more}) for more in ({}, LONG_WAY))
    assert taken == [pixels.tobytes() if sent == "block" else body]
    assert short.status_code == long.status_code == 200
    assert head(short) == head(long)
    assert len(short.content) == len(long.content)
    first, second = (
        np.load(io.BytesIO(each.content)) if accept.endswith("npy") else np.array(each.json()["embeddings"])
        for each in (short, long)
    )
    assert first.shape == (5 if sent == "block" else 1, 4)
    assert np.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (npy(block(70)), 200),
        (npy(block(0)), 200),
        (npy(block(2, 28, 28)), 200),
        (npy(block(2, 20, 20, 1)), 422),
        (npy(block(2).astype(np.float32)), 422),
        (npy(block(2))[:-1], 400),
        (b"no array", 400),
    ],
)
def test_what_is_no_small_block_of_the_models_shape_does_not_go_past_the_queue(
    client: httpx.Client, taken: list[bytes], body: bytes, status: int
) -> None:
    assert client.post("/embed", content=body, headers={"Content-Type": "application/x-npy"}).status_code == status
    assert taken == []


def test_requests_that_come_together_get_each_their_own_answer(
    server: Any, taken: list[bytes], pngs: list[bytes]
) -> None:
    images = pngs

    def embed(image: bytes) -> list[float]:
        answer = httpx.post(f"http://127.0.0.1:{server.port}/embed", content=image)
        embedding: list[float] = answer.raise_for_status().json()["embeddings"][0]
        return embedding

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(embed, images))
    assert sorted(taken) == sorted(images)
    assert np.allclose(found, server.repository.get(None).embed(images).mean, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/embed?normalize=true", {}),
        ("/embed", {"Accept": "application/json;q=0.1, application/x-npy"}),
        ("/embed", {"Content-Type": "application/json"}),
        ("/embed", {"Expect": "100-continue"}),
        ("/embed", {"Content-Encoding": "gzip"}),
        ("/embed", {"X-Request-Timeout": "0.5"}),
        ("/embed", {"X-Request-Timeout": "0"}),
        ("/embed", {"X-Request-Timeout": "soon"}),
        ("/embed", {"Content-Type": "application/octet-streams"}),
        ("/reconstruct", {}),
    ],
)
def test_whoever_asks_for_something_goes_the_long_way(
    client: httpx.Client,
    taken: list[bytes],
    queued: list[QueuedRequest],
    png: bytes,
    path: str,
    headers: dict[str, str],
) -> None:
    client.post(path, content=png, headers=headers)
    assert (taken, queued) == ([], [])


@pytest.mark.parametrize("damage", [lambda png: png[:60], lambda png: png.replace(b"IDAT", b"IDAX")])
def test_a_bad_image_is_told_what_is_wrong(
    client: httpx.Client, taken: list[bytes], pngs: list[bytes], damage: Callable[[bytes], bytes]
) -> None:
    image = damage(pngs[0])
    short, long = client.post("/embed", content=image), client.post("/embed", content=image, headers=LONG_WAY)
    assert taken == [image]
    assert short.status_code == long.status_code == 422
    assert {**short.json(), "instance": ""} == {**long.json(), "instance": ""}


@pytest.mark.parametrize("body", [b'{"images": []}', npy(block(2)), b"GIF", b""])
def test_what_is_no_image_by_its_first_bytes_goes_the_long_way(
    client: httpx.Client, taken: list[bytes], queued: list[QueuedRequest], body: bytes
) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    short, long = (client.post("/embed", content=body, headers=headers | more) for more in ({}, LONG_WAY))
    assert short.status_code == long.status_code
    assert (taken, queued) == ([], [])


@pytest.mark.parametrize(("setting", "value"), [("queue_items", 4), ("max_items", 4), ("max_pixels", 100)])
def test_the_limits_of_the_long_way_hold_for_blocks(
    start: Callable[..., Any], taken: list[bytes], setting: str, value: int
) -> None:
    headers = {"Content-Type": "application/x-npy"}
    running = start(**{setting: value})
    short, long = (running.client.post("/embed", content=npy(block(8)), headers=headers | m) for m in ({}, LONG_WAY))
    assert short.status_code == long.status_code == 413
    assert short.json()["type"] == long.json()["type"]
    assert taken == []


def test_where_browsers_of_other_sites_may_ask_their_requests_go_the_long_way(
    start: Callable[..., Any], taken: list[bytes], png: bytes
) -> None:
    running = start(cors_origins="https://app.example")
    answer = running.client.post("/embed", content=png, headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert taken == []


def test_caches_are_told_that_browsers_of_other_sites_are_answered_otherwise(
    start: Callable[..., Any], taken: list[bytes], png: bytes
) -> None:
    running = start(cors_origins="https://app.example")
    short, long = (running.client.post("/embed", content=png, headers=more) for more in ({}, LONG_WAY))
    assert short.headers.get("vary") == long.headers.get("vary")
    assert head(short) == head(long)
    assert taken == [png]


def test_it_counts_like_the_long_way(server: Any, client: httpx.Client, taken: list[bytes], png: bytes) -> None:
    def statistics() -> Counts:
        counts: Counts = server.repository.get(None).statistics["embed"].counts()
        return counts

    def counts() -> list[float]:
        labels = {"route": "/embed", "code": "200"}
        stage = {"stage": "inference", "priority": "interactive"}
        return [
            server.metric("simvae_requests_total", **labels),
            server.metric("simvae_request_duration_seconds_count", route="/embed"),
            server.metric("simvae_stage_duration_seconds_count", **stage),
            server.metric("simvae_items_total"),
            server.metric("simvae_batches_total"),
            statistics().succeeded.count,
            statistics().decode.count,
            sum(run.count for run in statistics().batches.values()),
        ]

    before = counts()
    client.post("/embed", content=png)
    short = counts()
    client.post("/embed", content=png, headers=LONG_WAY)
    assert taken == [png]
    assert [b - a for a, b in zip(before, short, strict=True)] == [1] * 8
    assert [b - a for a, b in zip(short, counts(), strict=True)] == [1] * 8


def test_the_id_of_a_request_is_kept(client: httpx.Client, taken: list[bytes], png: bytes) -> None:
    answer = client.post("/embed", content=png, headers={"X-Request-ID": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert taken == [png]


def test_a_key_is_needed_where_there_are_keys(start: Callable[..., Any], taken: list[bytes], png: bytes) -> None:
    keyed = start(api_key="secret")
    assert keyed.client.post("/embed", content=png).status_code == 401
    assert keyed.client.post("/embed", content=png, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert taken == []
    assert keyed.client.post("/embed", content=png, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert taken == [png]


@pytest.mark.parametrize("accept", ["application/x-npy", "application/json"])
def test_a_model_that_is_not_quick_is_asked_through_the_queue(
    slow: Any, queued: list[QueuedRequest], taken: list[bytes], make_image: Callable[..., bytes], accept: str
) -> None:
    bodies = {"image/jpeg": make_image("JPEG", size=(60, 40), mode="RGB"), "application/x-npy": npy(block(3))}
    for number, (kind, body) in enumerate(bodies.items()):
        headers = {"Content-Type": kind, "Accept": accept}
        short, long = (slow.client.post("/embed", content=body, headers=headers | more) for more in ({}, LONG_WAY))
        assert short.status_code == long.status_code == 200
        assert head(short) == head(long)
        assert short.content == long.content
        assert len(queued) == number + 1
    assert taken == []


def test_what_the_queue_refuses_is_refused_at_once(slow: Any, queued: list[QueuedRequest], png: bytes) -> None:
    with slow.occupied(4):
        answer = slow.client.post("/embed", content=png)
        late = slow.client.post("/embed", content=png, headers={"X-Request-Timeout": "1"})
    assert answer.status_code == late.status_code == 429
    assert answer.json()["type"] == "urn:simvae:problem:busy"
    assert int(answer.headers["retry-after"]) >= 1
    assert slow.metric("simvae_requests_total", route="/embed", code="429") == 2
    assert queued == []


def test_an_answer_that_is_not_ready_in_time_is_504(slow: Any, queued: list[QueuedRequest], png: bytes) -> None:
    with slow.occupied(2):
        answer = slow.client.post("/embed", content=png, headers={"X-Request-Timeout": "1"})
    assert answer.status_code == 504
    assert len(queued) == 1
    slow.wait_for(lambda: slow.metric("simvae_queue_items") == 0)
    assert slow.metric("simvae_dropped_total", reason="too-late") == 1


def test_a_bad_image_in_the_queue_is_told_what_is_wrong(slow: Any, queued: list[QueuedRequest], png: bytes) -> None:
    answer = slow.client.post("/embed", content=png[:60])
    assert answer.status_code == 422
    assert answer.json()["index"] == 0
    assert len(queued) == 1
    statistics = slow.repository.get(None).statistics["embed"].counts()
    assert (statistics.succeeded.count, statistics.failed.count) == (0, 1)
    assert slow.metric("simvae_image_errors_total", kind="undecodable-image") == 1


def test_what_would_wait_long_goes_through_the_queue(
    server: Any, taken: list[bytes], queued: list[QueuedRequest], png: bytes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prompt, "wait_s", 1.0)
        assert server.client.post("/embed", content=png).status_code == 200
    assert (taken, len(queued)) == ([], 1)


@pytest.mark.parametrize(("bulk", "short"), [(700, True), (0, False)])
def test_a_crowd_has_to_be_interactive_for_a_request_to_go_through_the_queue(
    server: Any, taken: list[bytes], png: bytes, monkeypatch: pytest.MonkeyPatch, bulk: int, *, short: bool
) -> None:
    monkeypatch.setattr(Runtime, "load", 750)
    monkeypatch.setattr(Runtime, "bulk_load", bulk)
    assert server.client.post("/embed", content=png).status_code == 200
    assert taken == ([png] if short else [])
