"""Voyage's contract."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

PATH = "/v1/multimodalembeddings"


def body_of(encoded: list[str], **asked: Any) -> dict[str, Any]:
    return {"inputs": [{"content": [{"type": "image_base64", "image_base64": image}]} for image in encoded]} | asked


def test_the_answer_is_voyages(client: httpx.Client, encoded: list[str]) -> None:
    answer = client.post(PATH, json=body_of(encoded, model="tiny", input_type=None, truncation=True)).json()
    assert (answer["object"], answer["model"]) == ("list", "tiny@1")
    assert answer["usage"] == {"text_tokens": 0, "image_pixels": 0, "video_pixels": 0, "total_tokens": 0}


@pytest.mark.parametrize("name", ["output_encoding", "encoding_format"])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("float", "<f4"), ("int8", "i1"), ("uint8", "u1"), ("binary", "i1"), ("ubinary", "u1")]
)
def test_base64_holds_the_numbers_that_were_asked_for(
    name: str, kind: str, dtype: str, client: httpx.Client, encoded: list[str]
) -> None:
    plain = client.post(PATH, json=body_of(encoded, output_dtype=kind)).json()["data"]
    packed = client.post(PATH, json=body_of(encoded, output_dtype=kind) | {name: "base64"}).json()["data"]
    rows = [np.frombuffer(base64.b64decode(entry["embedding"]), dtype) for entry in packed]
    assert np.array_equal(np.stack(rows), np.asarray([entry["embedding"] for entry in plain], dtype))


def test_whole_numbers_are_those_of_the_native_route(
    client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    data = client.post(PATH, json=body_of(encoded, output_dtype="int8")).json()["data"]
    assert np.array_equal([entry["embedding"] for entry in data], native(encoded, normalize=True, dtype="int8"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (body_of(["YQ=="], output_dimension=256), "output_dimension: expected 4"),
        (body_of(["YQ=="], output_dtype="int4"), "output_dtype: "),
        (body_of(["YQ=="], output_encoding="hex"), "output_encoding: "),
        ({"inputs": [{"content": []}]}, "one image in each content, which becomes one embedding; found 0"),
        ({"inputs": [{"content": [{"type": "video_url", "video_url": "YQ=="}]}]}, "found type, video_url"),
        ({"inputs": [{"content": [{"type": "image_url", "image_url": "https://a.example/b"}]}]}, "does not fetch"),
    ],
)
def test_what_cannot_be_had_is_refused(body: dict[str, Any], words: str, client: httpx.Client) -> None:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
