"""Answers: number formats of embeddings, and the headers that every answer carries.

Bytes are built by orjson and numpy directly; no validation runs over lists of floats.
"""

import base64
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from service.api.errors import RequestError
from service.api.negotiation import JSON
from service.api.options import Dtype
from service.engine.bundle import EmbeddingSpec
from service.engine.engine import Engine
from service.engine.results import Floats
from service.engine.ticket import Timings

__all__ = [
    "EXPOSED_HEADERS",
    "Answer",
    "Packed",
    "encode_rows",
    "identity",
    "json_answer",
    "json_response",
    "model_headers",
    "pack",
    "server_timing",
]

EXPOSED_HEADERS = (
    "X-Model",
    "X-Model-Fingerprint",
    "X-Model-Precision",
    "X-Embedding-Dim",
    "X-Embedding-Scale",
    "X-Request-ID",
    "X-Squared-Error",
    "X-Typicality",
    "Inference-Header-Content-Length",
    "Server-Timing",
    "Retry-After",
)
_INT8_RANGE = 4.0  # prior standard deviations: 6 of 100,000 values of a prior sample lie beyond and are clipped


@dataclass(frozen=True, eq=False)
class Packed:
    """Embeddings in the number format that was asked for.

    Attributes:
        rows: Shape [N, D], or [N, ⌈D/8⌉] for bits.
        scale: For int8, value ≈ integer × scale.
    """

    rows: NDArray[Any]
    scale: float | None = None


def pack(mean: Floats, dtype: Dtype, *, normalize: bool, spec: EmbeddingSpec) -> Packed:
    """Brings embeddings to a number format.

    int8 has one scale for a model, so that integers of different images and requests can be compared: 127 stands
    for four standard deviations of the prior (in its widest dimension), or for 1 after `normalize`.

    Args:
        mean: Shape [N, D].
        dtype: float32, float16, int8, or ubinary (a bit for each sign, most significant first).
        normalize: Scale each row to length 1 before; a row of zeros stays.
        spec: The latent space.

    Raises:
        RequestError: int8 under the flat prior, which sets no scale, without `normalize`.
    """
    if normalize:
        wide = mean.astype(np.float64)  # so that the squares of very small numbers are not zero
        length = np.linalg.norm(wide, axis=-1, keepdims=True)
        mean = (wide / np.where(length > 0, length, 1.0)).astype(np.float32)
    match dtype:
        case "float32" | "float16":
            return Packed(mean.astype(dtype, copy=False))
        case "ubinary":
            return Packed(np.packbits(mean > 0, axis=-1, bitorder="big"))
        case "int8":
            scale = (1.0 if normalize else _INT8_RANGE * _prior_deviation(spec)) / 127
            return Packed(np.clip(np.rint(mean / scale), -127, 127).astype(np.int8), scale)


def encode_rows(rows: NDArray[Any], encoding: Literal["float", "base64"]) -> list[Any]:
    """Each row as orjson writes it: an array of numbers, or a string of its little-endian values."""
    if encoding == "float":
        return list(rows)
    little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    return [base64.b64encode(row.tobytes()).decode() for row in little]


def identity(engine: Engine) -> dict[str, Any]:
    """The fields that say which model answered."""
    manifest = engine.manifest
    return {"model": manifest.name, "version": manifest.version, "fingerprint": engine.fingerprint}


class Answer(Response):
    """What went well, with headers that say which model answered and how long each stage took (in milliseconds).

    Args:
        content: The body.
        media_type: Its type.
        engine: Of the model.
        timings: Of the stages.
        headers: More of them.
    """

    def __init__(
        self,
        content: bytes,
        media_type: str,
        engine: Engine,
        timings: Timings,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Starlette's own takes as long as writing the JSON of an embedding: it encodes every header again.
        self.status_code, self.body, self.media_type, self.background = 200, content, media_type, None
        self.raw_headers = [
            *_encoded(*model_headers(engine).items(), ("Content-Type", media_type)),
            (b"content-length", b"%d" % len(content)),
            (b"server-timing", server_timing(timings)),
            *_encoded(*(headers or {}).items()),
        ]


def server_timing(timings: Timings) -> bytes:
    """The value of the header `Server-Timing`: how long each stage took, in milliseconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, inference;dur=%.3f" % (
        1000 * timings.decode_s,
        1000 * timings.queue_s,
        1000 * timings.inference_s,
    )


def model_headers(engine: Engine) -> dict[str, str]:
    """The headers that say which model answered."""
    return {
        "X-Model": engine.manifest.reference,
        "X-Model-Fingerprint": engine.fingerprint,
        "X-Model-Precision": engine.model.precision,
    }


def json_answer(content: Any, engine: Engine, timings: Timings) -> Answer:
    """A JSON answer; arrays in it must be C-contiguous."""
    return Answer(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), JSON, engine, timings)


def json_response(content: Any) -> Response:
    """JSON that no model answered."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


@functools.lru_cache(64)
def _encoded(*headers: tuple[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _prior_deviation(spec: EmbeddingSpec) -> float:
    if spec.tau2 is None:
        raise RequestError("dtype int8 needs normalize=true with this model: its flat prior sets no scale.")
    return float(np.sqrt(np.max(np.asarray(spec.sigma2) + np.asarray(spec.tau2))))
