"""What holds for every contract: the same vectors, limits, keys and metrics, and errors in its own shape."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest


def test_the_vectors_are_those_of_the_native_route(
    contract: Any, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    sent = encoded if contract.many else encoded[:1]
    answer = client.post(contract.path, json=contract.body(sent))
    assert answer.status_code == 200, answer.text
    assert (np.asarray(contract.vectors(answer.json())) == native(sent, normalize=contract.normalize)).all()
    assert answer.headers["x-model"] == "tiny@1"
    assert "inference" in answer.headers["server-timing"]


def test_the_content_type_does_not_matter(contract: Any, client: httpx.Client, encoded: list[str]) -> None:
    if contract.path == "/embed":
        pytest.skip("a native route too, where it does")
    body = client.build_request("POST", "/", json=contract.body(encoded[:1])).content
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-8"}):
        assert client.post(contract.path, content=body, headers=headers).status_code == 200


def test_the_query_says_what_the_client_cannot(
    contract: Any, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    query = {"model": "tiny-rgb@1", "normalize": str(not contract.normalize), "priority": "bulk", "api-version": "1"}
    answer = client.post(contract.path, json=contract.body(encoded[:1]), params=query)
    expected = native(encoded[:1], model="tiny-rgb", normalize=not contract.normalize)
    assert answer.headers["x-model"] == "tiny-rgb@1"
    assert (np.asarray(contract.vectors(answer.json())) == expected).all()


def test_fields_that_nobody_here_knows_are_ignored(contract: Any, client: httpx.Client, encoded: list[str]) -> None:
    body = contract.body(encoded[:1]) | {"user": "x", "truncate": "END", "priority": 0, "new": {"deep": []}}
    assert client.post(contract.path, json=body).status_code == 200


@pytest.mark.parametrize(
    ("image", "status", "words"),
    [
        ("https://a.example/cat.png", 400, "does not fetch"),
        ("not base64!", 400, "neither"),
        (7, 400, "a number"),
        (None, 400, "found (null|type)"),
        ([1, 2], 400, "a list"),
        ({"audio": "YQ=="}, 400, "found audio"),
        ({"image": {"image": {"image": {"image": {"image": "YQ=="}}}}}, 400, "objects within objects"),
        ("bm8gaW1hZ2U=", 415, "formats JPEG, PNG"),
    ],
)
def test_a_bad_image_is_refused_in_the_shape_of_the_contract(
    contract: Any, client: httpx.Client, image: object, status: int, words: str
) -> None:
    answer = client.post(contract.path, json=contract.body([image]))  # type: ignore[list-item]
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert re.search(words, contract.told(answer.json())), answer.text


def test_texts_are_refused_and_not_left_out(contract: Any, client: httpx.Client) -> None:
    answer = client.post(contract.path, json=contract.text)
    assert answer.status_code == 400
    assert "found text, which this model does not read" in contract.told(answer.json())


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"hello"])
def test_what_is_no_object_is_refused(contract: Any, client: httpx.Client, body: bytes) -> None:
    if contract.path == "/embed":
        pytest.skip("a native route too, which answers in its own shape")
    answer = client.post(contract.path, content=body)
    assert answer.status_code == 400
    assert "JSON" in contract.told(answer.json())


def test_a_model_that_is_not_there_is_named(contract: Any, client: httpx.Client, encoded: list[str]) -> None:
    answer = client.post(contract.path, params={"model": "other"}, json=contract.body(encoded[:1]))
    assert answer.status_code == 404
    assert "'other'" in contract.told(answer.json())


def test_more_images_than_allowed_are_refused_before_any_is_decoded(
    contract: Any, start: Callable[..., Any], encoded: list[str]
) -> None:
    if not contract.many:
        pytest.skip("takes one image")
    answer = start(max_items=2).client.post(contract.path, json=contract.body(["?"] * 3) | {"model": ""})
    assert answer.status_code == 413
    assert "3 items" in contract.told(answer.json())


def test_a_key_is_needed_where_the_server_has_one(contract: Any, start: Callable[..., Any], encoded: list[str]) -> None:
    client = start(api_key="secret").client
    request = {"json": contract.body(encoded[:1]) | {"model": ""}}
    for headers in ({"Authorization": "Bearer secret"}, {"X-API-Key": "secret"}, {"api-key": "secret"}):
        assert client.post(contract.path, headers=headers, **request).status_code == 200
    in_query = client.post(contract.path, params={"api_key": "secret"}, **request)
    assert in_query.status_code == (200 if contract.path == "/clip/embed_image" else 401)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"api-key": "wrong"}):
        answer = client.post(contract.path, headers=headers, **request)
        assert answer.status_code == 401
        assert "key" in (answer.json()["detail"] if contract.path == "/embed" else contract.told(answer.json()))


def test_a_full_queue_says_when_to_come_back(contract: Any, start: Callable[..., Any], encoded: list[str]) -> None:
    running = start(queue_items=4)
    body = contract.body(encoded[:1]) | {"model": ""}
    with running.occupied(4):
        answer = running.client.post(contract.path, json=body)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    if contract.path == "/embed":  # refused before the body, which says which contract it is, was read
        return
    assert int(answer.headers["retry-after-ms"]) == 1000 * int(answer.headers["retry-after"])
    assert contract.told(answer.json())


def test_a_server_that_is_not_ready_says_so(contract: Any, start: Callable[..., Any], encoded: list[str]) -> None:
    running = start()
    running.repository._engines.clear()  # as while it loads
    answer = running.client.post(contract.path, json=contract.body(encoded[:1]))
    assert answer.status_code == 503
    assert answer.headers["retry-after-ms"] == "1000"
    assert "No model is there yet" in contract.told(answer.json())


def test_bytes_are_given_back_and_requests_counted(contract: Any, server: Any, encoded: list[str]) -> None:
    for body in (contract.body(encoded[:1]), contract.body(["?"]), contract.text):
        server.client.post(contract.path, json=body)
    assert server.app.state.budget.held_bytes == 0
    assert server.metric("simvae_requests_total", route=contract.path, code="400") >= 2
