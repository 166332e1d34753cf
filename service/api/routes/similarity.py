"""`POST /similarity`: how alike images are, or embeddings that are there already."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import EXAMPLES, Similarities, operation, problems
from service.api.embedded import embedded
from service.api.errors import ItemError, UnprocessableError
from service.api.exchange import Call, receive_call
from service.api.json_items import GivenEmbedding, Item
from service.api.negotiation import JSON, preferred
from service.api.options import SimilarityOptions
from service.api.outputs import identity, json_answer
from service.api.threads import off_loop
from service.engine.results import Embedding, Embeddings
from service.engine.similarity import available_metrics
from service.engine.ticket import Timings

__all__ = ["router"]

router = APIRouter(tags=["images"])
_DISTANCES = frozenset({"cosine", "euclidean"})
_VECTOR = {"type": "array", "items": {"type": "number"}}
_GIVEN = {
    "type": "object",
    "required": ["embedding"],
    "additionalProperties": False,
    "properties": {"embedding": _VECTOR, "variance": _VECTOR},
}
_SIDE = {"type": "array", "items": {"anyOf": [{"type": "string", "description": "Base64, or a data URI."}, _GIVEN]}}


@router.post(
    "/similarity",
    response_model=Similarities,
    responses=problems(400, 404, 406, 408, 413, 415, 422, 429, 500, 504),
    openapi_extra=operation(
        SimilarityOptions, {"left": _SIDE, "right": _SIDE}, {"left": [EXAMPLES[0]], "right": list(EXAMPLES)}
    ),
)
async def similarity(request: Request) -> Response:
    """Each left item against each right one, or pair by pair; without `right`, the left ones among themselves."""
    preferred(request.headers.get("accept"), (JSON,))
    with await receive_call(request, SimilarityOptions, ("left", "right")) as call:
        metrics = call.options.metrics or available_metrics(call.engine.manifest.embedding)
        if not _DISTANCES.issuperset(metrics):
            _check_variances(call.lists)
        sides, timings = await embedded(call)
        left = _stack(sides["left"], call)
        right = _stack(sides["right"], call) if "right" in sides else left
        return await off_loop(4 * len(left) * len(right), lambda: _answer(call, left, right, metrics, timings))


def _check_variances(lists: dict[str, list[Item]]) -> None:
    for side, items in lists.items():
        for index, item in enumerate(items):
            if isinstance(item, GivenEmbedding) and item.variance is None:
                text = "Likelihood ratios need the variance of the embedding; send it, or ask for other metrics."
                raise ItemError(UnprocessableError(text), index, side)


def _stack(items: list[Embedding | ItemError], call: Call[Any]) -> Embeddings:
    rows = []
    for item in items:
        if isinstance(item, ItemError):
            raise item
        rows.append(item)
    return Embeddings.stack(rows, call.engine.manifest.embedding.dim)


def _answer(
    call: Call[SimilarityOptions], left: Embeddings, right: Embeddings, metrics: Sequence[str], timings: Timings
) -> Response:
    options = call.options
    result = call.engine.similarity(left, right, metrics, pairs=options.pairs, prior=options.prior)
    arrays = {metric: np.ascontiguousarray(values) for metric, values in result.items()}
    return json_answer(identity(call.engine) | {"similarity": arrays}, call.engine, timings)
