"""Collections in an object store, over the S3 protocol to moto's server, shared by two servers of this service."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

Serve = Callable[..., AbstractContextManager[httpx.Client]]
ITEMS = "/collections/shop/items"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a place in a bucket, and the environment that leads to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.put(f"http://{host}:{port}/bucket").raise_for_status()
    yield "s3://bucket/collections"
    server.stop()


def test_servers_share_collections_in_an_object_store(
    serve: Serve, tiny_bundle: Path, place: str, make_image: Callable[..., bytes]
) -> None:
    flags = ("--collections", place)
    with serve(tiny_bundle, *flags) as one, serve(tiny_bundle, *flags) as other:

        def add(number: int) -> httpx.Response:
            client = (one, other)[number % 2]
            return client.post(ITEMS, files={"x": (f"{number}.png", make_image(seed=number))})

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(add, range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        for client in (one, other):
            assert client.get("/collections/shop").json()["items"] == 8
            found = client.post("/collections/shop/search", content=make_image(seed=3), params={"k": 1}).json()
            assert found["results"][0][0]["id"] == "3.png"
        assert one.delete(f"{ITEMS}/3.png").status_code == 204
        assert other.get(f"{ITEMS}/3.png").status_code == 404
        assert other.delete("/collections/shop").status_code == 204
        assert one.get("/collections").json() == {"collections": []}
