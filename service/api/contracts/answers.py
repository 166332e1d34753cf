"""Answers in contracts: vectors in the number formats that other systems name, and errors in the shape they expect."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from service.api.contracts.bodies import OptionsT
from service.api.errors import Problem, RequestError
from service.api.exchange import Call
from service.api.negotiation import JSON
from service.api.outputs import json_answer, pack
from service.api.threads import off_loop
from service.engine.bundle import EmbeddingSpec
from service.engine.results import Embeddings, Floats

__all__ = ["Numbers", "answer", "check_dimensions", "error_answer", "numbers"]

Numbers = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""What Cohere, Voyage and Jina call the formats of a vector's numbers."""


def numbers(mean: Floats, kind: Numbers, *, normalize: bool, spec: EmbeddingSpec) -> NDArray[Any]:
    """Embeddings in a number format.

    Args:
        mean: Shape [N, D].
        kind: uint8 is int8 + 128; binary is ubinary − 128, so that a byte of it is signed. Both others as `pack` says.
        normalize: Scale each row to length 1 before.
        spec: The latent space.

    Returns:
        Shape [N, D], or [N, ⌈D/8⌉] of bits.

    Raises:
        RequestError: int8 or uint8 under the flat prior, without `normalize`.
    """
    match kind:
        case "float":
            return pack(mean, "float32", normalize=normalize, spec=spec).rows
        case "int8":
            return pack(mean, "int8", normalize=normalize, spec=spec).rows
        case "uint8":  # the highest bit is what 128 more or less changes
            return pack(mean, "int8", normalize=normalize, spec=spec).rows.view(np.uint8) ^ np.uint8(128)
        case "ubinary":
            return pack(mean, "ubinary", normalize=normalize, spec=spec).rows
        case "binary":
            return (pack(mean, "ubinary", normalize=normalize, spec=spec).rows ^ np.uint8(128)).view(np.int8)


async def answer(call: Call[OptionsT], write: Callable[[Floats], Any]) -> Response:
    """Embeds the images of a request, and answers.

    Args:
        call: Its block is still open.
        write: Makes the JSON from the embeddings, of shape [N, D]; arrays in it must be C-contiguous.

    Raises:
        ItemError: The first bad image.
        EngineError: Not admitted, or too late.
    """
    outcomes = await call.run_all("embed", "fail")
    dim = call.engine.manifest.embedding.dim

    def render() -> Response:
        mean = Embeddings.stack([result for result in outcomes.results if result is not None], dim).mean
        return json_answer(write(mean), call.engine, outcomes.timings)

    return await off_loop(4 * dim * len(outcomes.results), render)


def check_dimensions(call: Call[Any], name: str, wanted: int | None) -> None:
    """Raises RequestError for another length than the model's: a shortened vector would be another, worse model's."""
    dim = call.engine.manifest.embedding.dim
    if wanted not in {None, dim}:
        raise RequestError(
            f"{name}: expected {dim}, which is what {call.engine.manifest.reference} gives, or nothing; "
            f"found {wanted}. Its vectors cannot be shortened."
        )


def error_answer(problem: Problem, content: dict[str, Any]) -> Response:
    """An error in a contract's shape, with Retry-After in milliseconds too, where OpenAI's clients look first."""
    headers = dict(problem.headers)
    if "Retry-After" in headers:
        headers["retry-after-ms"] = f"{headers['Retry-After']}000"
    return Response(orjson.dumps(content), problem.kind.status, headers, JSON)
