"""The shortest way: the same answers as the long way, for requests that ask for nothing, and for no others."""

import http.client
import io
import json
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.express_ride import Ride
from service.engine.images import Pixels, encode_png
from service.engine.prompt import Prompt
from service.engine.runtime import Runtime

LONG_WAY = {"X-Request-Timeout": "29.5"}
OWN = {"server-timing", "x-request-id", "date"}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images that went the shortest way; of a block its bytes."""
    images: list[bytes] = []
    put = Prompt.put

    def note(self: Prompt, image: bytes | Pixels, *rest: Any) -> None:
        images.append(image if isinstance(image, bytes) else image.tobytes())
        put(self, image, *rest)

    monkeypatch.setattr(Prompt, "put", note)
    return images


def pngs(count: int) -> list[bytes]:
    rng = np.random.default_rng(1)
    return [encode_png(rng.integers(0, 256, (28, 28, 1), dtype=np.uint8)) for _ in range(count)]


def npy(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def block(count: int, *shape: int) -> Pixels:
    return np.random.default_rng(2).integers(0, 256, (count, *(shape or (28, 28, 1))), dtype=np.uint8)


def plain(body: bytes, *lines: str) -> bytes:
    """A request as it goes over the wire."""
    head = "\r\n".join(["POST /embed HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines])
    return f"{head}\r\n\r\n".encode() + body


def answer_of(connection: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(connection, method="POST")
    answer.begin()
    return answer


def head(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


def test_both_ways_give_the_same_bytes_and_headers(client: httpx.Client, taken: list[bytes]) -> None:
    (image,) = pngs(1)
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
    client: httpx.Client, taken: list[bytes], sent: str, accept: str
) -> None:
    pixels = block(5)
    body, kind = (npy(pixels), "application/x-npy") if sent == "block" else (pngs(1)[0], "image/png")
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
def test_what_is_no_small_block_of_the_models_shape_goes_the_long_way(
    client: httpx.Client, taken: list[bytes], body: bytes, status: int
) -> None:
    assert client.post("/embed", content=body, headers={"Content-Type": "application/x-npy"}).status_code == status
    assert taken == []


def test_requests_that_come_together_get_each_their_own_answer(server: Any, taken: list[bytes]) -> None:
    images = pngs(40)

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
        ("/reconstruct", {}),
    ],
)
def test_whoever_asks_for_something_goes_the_long_way(
    client: httpx.Client, taken: list[bytes], png: bytes, path: str, headers: dict[str, str]
) -> None:
    client.post(path, content=png, headers=headers)
    assert taken == []


@pytest.mark.parametrize("damage", [lambda png: png[:60], lambda png: png.replace(b"IDAT", b"IDAX")])
def test_a_bad_image_is_told_what_is_wrong(
    client: httpx.Client, taken: list[bytes], damage: Callable[[bytes], bytes]
) -> None:
    image = damage(pngs(1)[0])
    short, long = client.post("/embed", content=image), client.post("/embed", content=image, headers=LONG_WAY)
    assert taken == [image]
    assert short.status_code == long.status_code == 422
    assert {**short.json(), "instance": ""} == {**long.json(), "instance": ""}


def test_a_body_that_comes_in_pieces_is_put_together(server: Any, png: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(png)}\r\n\r\n".encode() + png[:20])
        connection.sendall(png[20:])
        assert answer_of(connection).status == 200


def test_a_body_that_takes_its_time_goes_the_long_way(server: Any, taken: list[bytes], png: bytes) -> None:
    request = plain(png)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request[:-20])
        time.sleep(0.3)
        connection.sendall(request[-20:])
        assert answer_of(connection).status == 200
    assert taken == []


def test_requests_that_follow_before_they_are_asked_for_are_answered_in_order(server: Any, taken: list[bytes]) -> None:
    images = pngs(4)
    requests = [
        plain(images[0]),
        plain(images[1], "Accept: application/x-npy"),
        plain(images[2], "X-Request-Timeout: 9.5"),
    ]
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
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


def test_a_connection_that_shall_end_is_closed(server: Any, png: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(plain(png, "Connection: close"))
        answer = answer_of(connection)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        answer.read()
        assert connection.recv(1) == b""


def test_clients_that_leave_are_counted_and_harm_nobody(server: Any, png: bytes) -> None:
    def gone() -> float:
        count: float = server.metric("simvae_requests_total", route="/embed", code="499")
        return count

    before = gone()
    for request in (plain(png)[:-20], plain(png)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request)
    server.wait_for(lambda: gone() >= before + 1)
    assert server.client.post("/embed", content=png).status_code == 200


def test_where_browsers_of_other_sites_may_ask_their_requests_go_the_long_way(
    start: Callable[..., Any], taken: list[bytes], png: bytes
) -> None:
    running = start(cors_origins="https://app.example")
    answer = running.client.post("/embed", content=png, headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert taken == []


def test_a_body_that_never_comes_is_given_up_in_time(
    start: Callable[..., Any], taken: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.express._LEAST_TIMEOUT_S", 0.1)
    running = start(request_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        assert answer_of(connection).status == 408
    assert taken == []


def test_a_timeout_of_seconds_is_kept_on_the_short_way(server: Any, taken: list[bytes], png: bytes) -> None:
    head = f"POST /embed HTTP/1.1\r\nHost: x\r\nX-Request-Timeout: 1\r\nContent-Length: {len(png)}\r\n\r\n".encode()
    for body, status in ((png, 200), (b"", 408)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(head + body)
            assert answer_of(connection).status == status
    assert taken == [png]


def test_it_counts_like_the_long_way(server: Any, client: httpx.Client, taken: list[bytes], png: bytes) -> None:
    def counts() -> list[float]:
        labels = {"route": "/embed", "code": "200"}
        stage = {"stage": "inference", "priority": "interactive"}
        return [
            server.metric("simvae_requests_total", **labels),
            server.metric("simvae_request_duration_seconds_count", route="/embed"),
            server.metric("simvae_stage_duration_seconds_count", **stage),
            server.metric("simvae_items_total"),
            server.metric("simvae_batches_total"),
        ]

    before = counts()
    client.post("/embed", content=png)
    short = counts()
    client.post("/embed", content=png, headers=LONG_WAY)
    assert taken == [png]
    assert [b - a for a, b in zip(before, short, strict=True)] == [1, 1, 1, 1, 1]
    assert [b - a for a, b in zip(short, counts(), strict=True)] == [1, 1, 1, 1, 1]


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


@pytest.fixture
def slow(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose model is not quick, and whose queue has room for four."""
    monkeypatch.setattr("service.api.repository.QUICK_S", 0.0)
    monkeypatch.setattr("service.engine.runtime.QUICK_S", 0.0)
    running = start(queue_items=4)
    assert running.repository.prompt is None
    return running


@pytest.fixture
def ridden(monkeypatch: pytest.MonkeyPatch) -> list[Ride]:
    """The requests that went through the queue on the shortest way."""
    rides: list[Ride] = []
    begin = Ride.__init__

    def note(self: Ride, *given: Any) -> None:
        rides.append(self)
        begin(self, *given)

    monkeypatch.setattr(Ride, "__init__", note)
    return rides


@pytest.mark.parametrize("accept", ["application/x-npy", "application/json"])
def test_a_model_that_is_not_quick_is_asked_through_the_queue(
    slow: Any, ridden: list[Ride], taken: list[bytes], make_image: Callable[..., bytes], accept: str
) -> None:
    bodies = {"image/jpeg": make_image("JPEG", size=(60, 40), mode="RGB"), "application/x-npy": npy(block(3))}
    for number, (kind, body) in enumerate(bodies.items()):
        headers = {"Content-Type": kind, "Accept": accept}
        short, long = (slow.client.post("/embed", content=body, headers=headers | more) for more in ({}, LONG_WAY))
        assert short.status_code == long.status_code == 200
        assert head(short) == head(long)
        assert short.content == long.content
        assert len(ridden) == number + 1
    assert taken == []


def test_what_the_queue_refuses_is_refused_at_once(slow: Any, ridden: list[Ride], png: bytes) -> None:
    with slow.occupied(4):
        answer = slow.client.post("/embed", content=png)
        late = slow.client.post("/embed", content=png, headers={"X-Request-Timeout": "1"})
    assert answer.status_code == late.status_code == 429
    assert answer.json()["type"] == "urn:simvae:problem:busy"
    assert int(answer.headers["retry-after"]) >= 1
    assert slow.metric("simvae_requests_total", route="/embed", code="429") == 2
    assert ridden == []


def test_an_answer_that_is_not_ready_in_time_is_504(slow: Any, ridden: list[Ride], png: bytes) -> None:
    with slow.occupied(2):
        answer = slow.client.post("/embed", content=png, headers={"X-Request-Timeout": "1"})
    assert answer.status_code == 504
    assert len(ridden) == 1
    slow.wait_for(lambda: slow.metric("simvae_queue_items") == 0)
    assert slow.metric("simvae_dropped_total", reason="too-late") == 1


def test_who_leaves_the_queue_frees_the_place_and_is_counted(slow: Any, ridden: list[Ride], png: bytes) -> None:
    with slow.occupied(2) as busy:
        with socket.create_connection(("127.0.0.1", slow.port), timeout=30) as connection:
            connection.sendall(plain(png))
            slow.wait_for(lambda: slow.metric("simvae_queue_items") == busy + 1)
        slow.wait_for(lambda: slow.metric("simvae_dropped_total", reason="client-gone") == 1)
    slow.wait_for(lambda: slow.metric("simvae_queue_items") == 0)
    assert len(ridden) == 1
    assert slow.metric("simvae_requests_total", route="/embed", code="499") == 1


def test_a_bad_image_in_the_queue_is_told_what_is_wrong(slow: Any, ridden: list[Ride], png: bytes) -> None:
    answer = slow.client.post("/embed", content=png[:60])
    assert answer.status_code == 422
    assert answer.json()["index"] == 0
    assert len(ridden) == 1


def test_what_would_wait_long_goes_the_long_way(server: Any, taken: list[bytes], png: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prompt, "wait_s", 1.0)
        assert server.client.post("/embed", content=png).status_code == 200
    assert taken == []


@pytest.mark.parametrize(("bulk", "short"), [(700, True), (0, False)])
def test_a_crowd_has_to_be_interactive_for_a_request_to_go_the_long_way(
    server: Any, taken: list[bytes], png: bytes, monkeypatch: pytest.MonkeyPatch, bulk: int, *, short: bool
) -> None:
    monkeypatch.setattr(Runtime, "load", 750)
    monkeypatch.setattr(Runtime, "bulk_load", bulk)
    assert server.client.post("/embed", content=png).status_code == 200
    assert taken == [png] * short
