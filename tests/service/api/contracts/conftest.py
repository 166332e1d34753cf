"""Every contract in one table, so that what holds for all of them is tested for each."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest


@dataclass(frozen=True)
class Contract:
    """How a contract is spoken.

    Attributes:
        path: Of its POST route.
        body: From images as base64 or data URIs.
        vectors: Out of an answer.
        told: The sentence in an error.
        normalize: Whether vectors have length 1 unless something else is asked for.
        many: Whether one request may have several images.
        text: A body that asks for the embedding of a text.
    """

    path: str
    body: Callable[[list[str]], dict[str, Any]]
    vectors: Callable[[Any], Any]
    told: Callable[[Any], str]
    normalize: bool
    text: dict[str, Any]
    many: bool = True


def data_of(answer: Any) -> Any:
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    return [entry["embedding"] for entry in answer["data"]]


CONTRACTS = {
    "openai": Contract(
        "/v1/embeddings",
        lambda images: {"model": "tiny", "input": images},
        data_of,
        lambda error: error["error"]["message"],
        normalize=True,
        text={"input": [{"text": "a cat"}]},
    ),
    "openai without a version": Contract(
        "/embeddings",
        lambda images: {"model": "tiny", "input": images},
        data_of,
        lambda error: error["error"]["message"],
        normalize=True,
        text={"messages": [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]},
    ),
    "cohere v1": Contract(
        "/v1/embed",
        lambda images: {"model": "tiny", "input_type": "image", "images": images},
        lambda answer: answer["embeddings"],
        lambda error: error["message"],
        normalize=True,
        text={"texts": ["a cat"]},
    ),
    "cohere v2": Contract(
        "/v2/embed",
        lambda images: {"model": "tiny", "input_type": "image", "images": images, "embedding_types": ["float"]},
        lambda answer: answer["embeddings"]["float"],
        lambda error: error["message"],
        normalize=True,
        text={"inputs": [{"content": [{"type": "text", "text": "a cat"}]}]},
    ),
    "voyage": Contract(
        "/v1/multimodalembeddings",
        lambda images: {
            "model": "tiny",
            "inputs": [{"content": [{"type": "image_base64", "image_base64": image}]} for image in images],
        },
        data_of,
        lambda error: error["detail"],
        normalize=True,
        text={"inputs": [{"content": [{"type": "text", "text": "a cat"}]}]},
    ),
    "tei": Contract(
        "/embed",
        lambda images: {"inputs": images},
        lambda answer: answer,
        lambda error: error["error"],
        normalize=True,
        text={"inputs": [{"text": "a cat"}]},
    ),
    "tei at the root": Contract(
        "/",
        lambda images: {"inputs": images},
        lambda answer: answer,
        lambda error: error["error"],
        normalize=True,
        text={"inputs": [{"text": "a cat"}]},
    ),
    "weaviate img2vec-neural": Contract(
        "/vectors",
        lambda images: {"id": "8a1f", "image": images[0]},
        lambda answer: [answer["vector"]],
        lambda error: error["error"],
        normalize=False,
        text={"image": {"text": "a cat"}},
        many=False,
    ),
    "weaviate multi2vec-clip": Contract(
        "/vectorize",
        lambda images: {"texts": [], "images": images},
        lambda answer: answer["imageVectors"],
        lambda error: error["error"],
        normalize=False,
        text={"texts": ["a cat"], "images": []},
    ),
    "roboflow": Contract(
        "/clip/embed_image",
        lambda images: {"image": [{"type": "base64", "value": image} for image in images]},
        lambda answer: answer["embeddings"],
        lambda error: error["message"],
        normalize=False,
        text={"image": {"text": "a cat"}},
    ),
}


@pytest.fixture(params=CONTRACTS)
def contract(request: pytest.FixtureRequest) -> Contract:
    """Each contract."""
    return CONTRACTS[request.param]


@pytest.fixture
def encoded(images: list[bytes]) -> list[str]:
    """Images that need decoding, converting and resizing: as base64, and as a data URI."""
    plain = [base64.b64encode(image).decode() for image in images]
    return [plain[0], f"data:image/jpeg;base64,{plain[1]}", plain[2]]


@pytest.fixture
def native(client: httpx.Client) -> Callable[..., Any]:
    """The embeddings that `POST /embed` gives: `native(encoded, normalize=True)`, float32 of shape [N, D]."""

    def ask(encoded: list[str], **options: Any) -> Any:
        answer = client.post("/embed", json={"images": encoded, **options})
        assert answer.status_code == 200, answer.text
        return np.asarray(answer.json()["embeddings"])

    return ask
