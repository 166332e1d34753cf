"""OpenAI's contract: every way in which clients put an image into it, and what they ask of it."""

import base64
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.contracts.openai import write_error
from service.api.errors import ItemError, RequestError, UnknownModelError, problem_of
from service.engine.errors import DeadlineExceededError, QueueFullError

PATH = "/v1/embeddings"


@pytest.mark.parametrize(
    "body_of",
    [
        lambda image: {"input": image},
        lambda image: {"input": f"data:image/png;base64,{image}"},
        lambda image: {"input": [image]},
        lambda image: {"input": image, "modality": "image"},  # Infinity
        lambda image: {"input": [{"image": image}], "task": "retrieval.query"},  # Jina
        lambda image: {"input": [{"url": f"data:image/png;base64,{image}"}]},
        lambda image: {"input": [{"bytes": image}]},
        lambda image: {
            "input": [{"content": [{"type": "image", "format": "base64", "value": image}]}]
        },  # Elasticsearch
        lambda image: {"input": {"content": {"type": "image", "format": "base64", "value": image}}},
        lambda image: {  # vLLM
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": ""}]},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:;base64,{image}"}}]},
            ]
        },
        lambda image: {"messages": [{"role": "user", "content": f"data:;base64,{image}"}]},
    ],
)
def test_every_way_to_send_an_image_gives_its_embedding(
    body_of: Any, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    answer = client.post(PATH, json=body_of(encoded[0]))
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["data"]
    assert (np.asarray([entry["embedding"]]) == native(encoded[:1], normalize=True)).all()


def test_the_answer_is_openais(client: httpx.Client, encoded: list[str]) -> None:
    answer = client.post(PATH, json={"model": "tiny", "input": encoded, "dimensions": 4}).json()
    assert answer.keys() == {"object", "model", "data", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "tiny@1")
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert [(entry["object"], entry["index"]) for entry in answer["data"]] == [("embedding", n) for n in range(3)]


@pytest.mark.parametrize("asked", [{"encoding_format": "base64"}, {"embedding_type": "base64"}])
def test_base64_is_little_endian_float32(
    asked: dict[str, str], client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    answer = client.post(PATH, json={"input": encoded, **asked}).json()
    rows = [np.frombuffer(base64.b64decode(entry["embedding"]), "<f4") for entry in answer["data"]]
    assert (np.stack(rows) == native(encoded, normalize=True).astype(np.float32)).all()


@pytest.mark.parametrize("asked", ["ubinary", ["ubinary"]])
def test_jinas_numbers_and_raw_vectors(
    asked: object, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    body = {"input": encoded, "embedding_type": asked}
    bits = [entry["embedding"] for entry in client.post(PATH, json=body).json()["data"]]
    assert (np.asarray(bits) == native(encoded, dtype="ubinary")).all()
    raw = client.post(PATH, json={"input": encoded, "normalized": False}).json()
    assert (np.asarray([entry["embedding"] for entry in raw["data"]]) == native(encoded)).all()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": "YQ==", "dimensions": 3}, "expected 4, which is what tiny@1 gives, or nothing; found 3"),
        ({"input": "YQ==", "encoding_format": "hex"}, "encoding_format: .*'hex'"),
        ({"input": "YQ==", "embedding_type": ["float", "ubinary"]}, "embedding_type: "),
        ({"input": "YQ==", "modality": "text"}, "modality: .*'text'"),
        ({"input": []}, "input: expected at least one image"),
        ({}, "input: expected an image or a list of images; found null"),
        ({"input": [[9906, 1917]]}, "check_embedding_ctx_length=False"),
        ({"input": "YQ==", "messages": []}, "either input or messages"),
        ({"messages": ["a cat"]}, "objects with a content; found a string"),
        ({"messages": [{"content": [{"image_url": "YQ=="}, {"image_url": "YQ=="}]}]}, "one image in each .* found 2"),
        ({"messages": [{"content": [{"image_url": "YQ=="}, {"type": "text", "text": "it"}]}]}, "found text"),
    ],
)
def test_what_cannot_be_had_is_refused(body: dict[str, Any], words: str, client: httpx.Client) -> None:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 400
    assert re.search(words, answer.json()["error"]["message"]), answer.text


@pytest.mark.parametrize(
    ("error", "status", "error_type", "param", "code"),
    [
        (ItemError(RequestError("bad"), 3), 400, "invalid_request_error", "input[3]", "malformed_request"),
        (UnknownModelError("other"), 404, "invalid_request_error", "model", "model_not_found"),
        (QueueFullError("full", 1.5), 429, "rate_limit_error", None, "rate_limit_exceeded"),
        (DeadlineExceededError("late"), 504, "server_error", None, "too_late"),
    ],
)
def test_errors_have_openais_words(error: Exception, status: int, error_type: str, param: str, code: str) -> None:
    answer = write_error(None, problem_of(error))  # type: ignore[arg-type]
    body = httpx.Response(status, content=answer.body).json()["error"]
    assert answer.status_code == status
    assert (body["type"], body["param"], body["code"]) == (error_type, param, code)
    assert answer.headers.get("retry-after-ms") == ("2000" if status == 429 else None)


def test_models_are_listed_by_name_and_by_version(client: httpx.Client) -> None:
    answer = client.get("/v1/models").json()
    assert [model["id"] for model in answer["data"]] == ["tiny", "tiny-rgb", "tiny@1", "tiny-rgb@1"]
    for model in answer["data"]:
        assert client.get(f"/v1/models/{model['id']}").json() == model
        assert model == model | {"object": "model", "created": 1795348800, "owned_by": "simvae"}
    unknown = client.get("/v1/models/other")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def test_models_need_a_key_too(start: Callable[..., Any]) -> None:
    client = start(api_key="secret").client
    assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
    assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200
