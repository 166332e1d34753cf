"""`POST /similarity`: how alike images are, or embeddings that are there already."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import EXAMPLES, Similarities, operation, problems
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
        sides, timings = await _embed_sides(call)
        left = _stack(call.lists["left"], sides["left"], call)
        right = _stack(call.lists["right"], sides["right"], call) if "right" in sides else left
        return await off_loop(4 * len(left) * len(right), lambda: _answer(call, left, right, metrics, timings))


def _check_variances(lists: dict[str, list[Item]]) -> None:
    for side, items in lists.items():
        for index, item in enumerate(items):
            if isinstance(item, GivenEmbedding) and item.variance is None:
                text = "Likelihood ratios need the variance of the embedding; send it, or ask for other metrics."
                raise ItemError(UnprocessableError(text), index, side)


async def _embed_sides(call: Call[SimilarityOptions]) -> tuple[dict[str, list[Embedding]], Timings]:
    """Embeds the images of both sides as one request, and gives each side its own, in order."""
    places = [
        (side, index, item)
        for side, items in call.lists.items()
        for index, item in enumerate(items)
        if not isinstance(item, GivenEmbedding)
    ]
    outcomes, timings = await call.run([item for _, _, item in places], "embed") if places else ([], Timings())
    sides: dict[str, list[Embedding]] = {side: [] for side in call.lists}
    for (side, index, _), outcome in zip(places, outcomes, strict=True):
        if isinstance(outcome, Exception):
            raise call.item_error(outcome, index, side)
        sides[side].append(outcome)
    return sides, timings


def _stack(items: Sequence[Item], embedded: Sequence[Embedding], call: Call[Any]) -> Embeddings:
    fresh = iter(embedded)
    rows = [_given(item) if isinstance(item, GivenEmbedding) else next(fresh) for item in items]
    return Embeddings.stack(rows, call.engine.manifest.embedding.dim)


def _given(item: GivenEmbedding) -> Embedding:
    return Embedding(item.mean, np.zeros_like(item.mean) if item.variance is None else item.variance)


def _answer(
    call: Call[SimilarityOptions], left: Embeddings, right: Embeddings, metrics: Sequence[str], timings: Timings
) -> Response:
    options = call.options
    result = call.engine.similarity(left, right, metrics, pairs=options.pairs, prior=options.prior)
    arrays = {metric: np.ascontiguousarray(values) for metric, values in result.items()}
    return json_answer(identity(call.engine) | {"similarity": arrays}, call.engine, timings)
