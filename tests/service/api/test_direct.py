"""The short way and the framework's own give the same answers."""

import asyncio
import functools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.api.documentation import EXAMPLES
from service.api.observe import Observe

BLACK = {"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28, 1], "data": [0] * 784}


def through_the_framework(app: FastAPI, metrics: Any, path: str, **request: Any) -> httpx.Response:
    """Asks the app as it would be without the short way."""

    async def ask() -> httpx.Response:
        usual = Observe(functools.partial(FastAPI.__call__, app), metrics)
        transport = httpx.ASGITransport(app=usual)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(path, **request)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "request_of"),
    [
        ("/embed", lambda png: {"content": png}),
        ("/embed?variance=true&dtype=int8", lambda png: {"files": [("f", png), ("f", png)]}),
        ("/embed?on_error=never", lambda png: {"content": png}),
        ("/embed", lambda _: {"content": b"no image"}),
        ("/embed", lambda png: {"content": png, "headers": {"Accept": "text/html"}}),
        ("/reconstruct", lambda png: {"content": png}),
        ("/v2/models/tiny_tensor/versions/1/infer", lambda _: {"json": {"inputs": [BLACK]}}),
        ("/v2/models/other/infer", lambda png: {"content": png}),
        ("/embed", lambda _: {"json": {"inputs": EXAMPLES[0]}}),
        ("/embed", lambda _: {"json": {"inputs": "https://a.example/b.png"}}),
        ("/v1/embeddings", lambda _: {"json": {"input": EXAMPLES[0]}}),
        ("/v1/embeddings?model=other", lambda _: {"json": {"input": EXAMPLES[0]}}),
        ("/", lambda _: {"json": {"inputs": EXAMPLES[0]}}),
        ("/similarity", lambda png: {"files": [("left", png), ("right", png)]}),
        ("/decode", lambda _: {"json": {"latents": [[0.5, 0, -1, 2]]}}),
        ("/decode", lambda png: {"content": png}),
    ],
)
def test_both_ways_give_the_same_answer(server: Any, png: bytes, path: str, request_of: Any) -> None:
    request = request_of(png)
    direct = server.client.post(path, **request)
    usual = through_the_framework(server.app, server.repository.metrics, path, **request)
    assert direct.status_code == usual.status_code
    bodies = [answer.json() for answer in (direct, usual)]
    for body in (body for body in bodies if isinstance(body, dict)):
        body.pop("instance", None)  # ends in the request's id
    assert bodies[0] == bodies[1]
    own = {"server-timing", "x-request-id", "date", "content-length", "server"}
    headers = [{name: value for name, value in answer.headers.items() if name not in own} for answer in (direct, usual)]
    assert headers[0] == headers[1]


def test_another_method_or_path_goes_the_usual_way(client: httpx.Client) -> None:
    assert client.get("/embed").status_code == 405
    assert client.post("/embed/").status_code in {307, 404}
