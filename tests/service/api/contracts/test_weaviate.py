"""The inference servers of Weaviate's modules."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np


def test_img2vec_gives_the_id_back_with_the_vector(
    client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    answer = client.post("/vectors", json={"id": "8a1f", "image": encoded[0]}).json()
    assert answer.keys() == {"id", "vector", "dim"}
    assert (answer["id"], answer["dim"]) == ("8a1f", 4)
    assert (np.asarray([answer["vector"]]) == native(encoded[:1])).all()


def test_img2vec_takes_one_image(client: httpx.Client, encoded: list[str]) -> None:
    assert "a list" in client.post("/vectors", json={"id": "1", "image": encoded}).json()["error"]
    assert "null" in client.post("/vectors", json={"id": "1"}).json()["error"]


def test_clip_answers_what_was_sent_even_if_that_is_nothing(client: httpx.Client, encoded: list[str]) -> None:
    for body in ({"images": encoded}, {"texts": [], "images": encoded}, {"texts": None, "images": encoded}):
        answer = client.post("/vectorize", json=body).json()
        assert answer.keys() == {"textVectors", "imageVectors", "error"}
        assert (answer["textVectors"], len(answer["imageVectors"]), answer["error"]) == ([], 3, "")
    for body in ({}, {"texts": [], "images": []}):
        assert client.post("/vectorize", json=body).json() == {"textVectors": [], "imageVectors": [], "error": ""}


def test_an_error_is_json_whatever_happens(client: httpx.Client) -> None:
    """The Go client parses before it looks at the status, and would report the parser's complaint instead."""
    for content in (b"", b"\xff", b'{"id": "1", "image": "?"}'):
        answer = client.post("/vectors", content=content)
        assert answer.status_code == 400
        assert answer.json().keys() == {"error"}


def test_meta_names_the_model(client: httpx.Client) -> None:
    fingerprint = client.get("/models/tiny").json()["fingerprint"]
    assert client.get("/meta").json() == {"model": "tiny", "version": 1, "fingerprint": fingerprint}
