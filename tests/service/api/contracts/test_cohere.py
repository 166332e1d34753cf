"""Cohere's contract, in both versions."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest


def test_the_first_version_gives_a_plain_list_unless_types_are_asked_for(
    client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    plain = client.post("/v1/embed", json={"images": encoded, "input_type": "image"}).json()
    assert plain["response_type"] == "embeddings_floats"
    assert (np.asarray(plain["embeddings"]) == native(encoded, normalize=True)).all()
    typed = client.post("/v1/embed", json={"images": encoded, "embedding_types": ["float"]}).json()
    assert typed["response_type"] == "embeddings_by_type"
    assert typed["embeddings"] == {"float": plain["embeddings"]}
    assert (typed["texts"], typed["meta"]["api_version"]) == ([], {"version": "1"})


def test_each_type_that_was_asked_for_is_there_and_no_other(
    client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    body = {"images": encoded, "embedding_types": ["int8", "uint8", "binary", "ubinary", "base64"]}
    found = client.post("/v2/embed", json=body).json()["embeddings"]
    assert list(found) == body["embedding_types"]
    int8, ubinary = native(encoded, normalize=True, dtype="int8"), native(encoded, dtype="ubinary")
    assert (np.asarray(found["int8"]) == int8).all()
    assert (np.asarray(found["uint8"]) == int8 + 128).all()
    assert (np.asarray(found["ubinary"]) == ubinary).all()
    assert (np.asarray(found["binary"]) == ubinary - 128).all()
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in found["base64"]]
    assert (np.stack(rows) == native(encoded, normalize=True).astype(np.float32)).all()


def test_the_second_version_gives_floats_by_type_and_takes_content(
    client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded[0]}"}}]
    answer = client.post("/v2/embed", json={"inputs": [{"content": parts}], "input_type": "image"}).json()
    assert (np.asarray(answer["embeddings"]["float"]) == native(encoded[:1], normalize=True)).all()
    assert answer["meta"] == {"api_version": {"version": "2"}, "billed_units": {"images": 1}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"images": ["YQ=="], "output_dimension": 256}, "output_dimension: expected 4"),
        ({"images": ["YQ=="], "embedding_types": []}, "embedding_types: "),
        ({"images": ["YQ=="], "embedding_types": ["int4"]}, "embedding_types: "),
        ({"images": ["YQ=="], "texts": ["a cat"]}, "found text"),
        ({"texts": []}, "images: expected an image or a list of images; found null"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
def test_what_cannot_be_had_is_refused(path: str, body: dict[str, Any], words: str, client: httpx.Client) -> None:
    answer = client.post(path, json=body, headers={"X-Request-ID": "mine"})
    assert answer.status_code == 400
    assert answer.json()["id"] == "mine"
    assert words in answer.json()["message"]
