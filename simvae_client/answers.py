"""How answers are read: headers, `.npy`, and JSON with base64, into results.

All of them raise ValueError, KeyError or TypeError for an answer of another shape.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from simvae_client.npy import read_npy
from simvae_client.results import Dtype, Embeddings, ModelCard, ModelId, Models, Reconstructions, Similarity

__all__ = ["Rows", "read_array", "read_models", "read_reconstructions", "read_rows", "read_similarity"]

_WIRE = {"float32": "<f4", "float16": "<f2", "int8": "i1", "ubinary": "u1"}
_CHANNELS = {"L": 1, "RGB": 3}


@dataclass(frozen=True, eq=False)
class Rows:
    """Embeddings of the images of a request that are not bad.

    Attributes:
        embeddings: In order.
        bad: The others: the place of each in the request, and what is wrong with it.
    """

    embeddings: Embeddings
    bad: Mapping[int, str]


def read_array(answer: httpx.Response, *, normalized: bool) -> Rows:
    """Embeddings as `.npy`."""
    header = answer.headers.get("X-Embedding-Scale")
    scale = None if header is None else float(header)
    return Rows(Embeddings(_model_of(answer), read_npy(answer.content), None, scale, normalized), {})


def read_rows(answer: httpx.Response, dtype: Dtype, *, normalized: bool) -> Rows:
    """Embeddings, perhaps with variances and gaps, as JSON with base64."""
    content = json.loads(answer.content)
    dim = content["dim"]
    width = -(-dim // 8) if dtype == "ubinary" else dim
    vectors = _unpacked(content["embeddings"], _WIRE[dtype], width)
    variances = _unpacked(content["variances"], "<f4", dim) if "variances" in content else None
    bad = {error["index"]: str(error["detail"]) for error in content["errors"]}
    return Rows(Embeddings(_model_of(answer), vectors, variances, content.get("scale"), normalized), bad)


def read_reconstructions(answer: httpx.Response) -> Reconstructions:
    """Pictures with two numbers each."""
    entries = json.loads(answer.content)["reconstructions"]
    return Reconstructions(
        _model_of(answer),
        tuple(base64.b64decode(entry["image"]) for entry in entries),
        np.array([entry["squared_error"] for entry in entries], np.float32),
        np.array([entry["typicality"] for entry in entries], np.float32),
    )


def read_similarity(answer: httpx.Response) -> Similarity:
    """An array for each metric."""
    found = json.loads(answer.content)["similarity"]
    return Similarity(_model_of(answer), **{name: np.array(values, np.float32) for name, values in found.items()})


def read_models(answer: httpx.Response) -> Models:
    """A card for each model."""
    content = json.loads(answer.content)
    return Models(content["default"], tuple(map(_card, content["models"])))


def _card(content: Mapping[str, Any]) -> ModelCard:
    manifest = content["manifest"]
    seen = manifest["input"]
    return ModelCard(
        ModelId(content["model"], content["version"], content["fingerprint"]),
        manifest["embedding"]["dim"],
        (seen["height"], seen["width"], _CHANNELS[seen["colour_mode"]]),
        content["precision"],
        tuple(content["metrics"]),
        manifest,
    )


def _model_of(answer: httpx.Response) -> ModelId:
    name, _, version = answer.headers["X-Model"].rpartition("@")
    return ModelId(name, int(version), answer.headers["X-Model-Fingerprint"])


def _unpacked(rows: list[str | None], dtype: str, width: int) -> NDArray[Any]:
    values = b"".join(base64.b64decode(row) for row in rows if row is not None)
    return np.frombuffer(values, dtype).reshape(-1, width).copy()
