"""`POST /collections/{name}/search`: what in a collection is nearest to images, embeddings, or its own items."""

import functools
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.collection_documents import SEARCH, Found
from service.api.collection_options import SearchOptions
from service.api.collection_queries import QueriesReader
from service.api.documentation import problems
from service.api.embedded import embedded
from service.api.errors import ItemError, UnprocessableError
from service.api.exchange import Call, receive
from service.api.inputs import asked_priority, media_type, query_options
from service.api.json_items import GivenEmbedding
from service.api.limits import Deadline
from service.api.negotiation import JSON, preferred
from service.api.outputs import identity, json_answer
from service.api.store_calls import store_of
from service.engine.results import Embedding
from service.search.ranking import Hit, rank
from service.search.store import Store

__all__ = ["router"]

router = APIRouter(tags=["collections"])


@router.post(
    "/collections/{name}/search",
    response_model=Found,
    responses=problems(400, 404, 406, 408, 409, 413, 415, 422, 429, 500, 501, 504),
    openapi_extra=SEARCH,
)
async def search(request: Request) -> Response:
    """For each query the nearest items of the collection, the best first."""
    preferred(request.headers.get("accept"), (JSON,))
    name, calls = request.path_params["name"], store_of(request)
    reader = QueriesReader(request, Deadline.of(request, request.app.state.settings.request_timeout_s))
    priority = asked_priority(query_options(request))
    only_images = media_type(request).startswith(("image/", "multipart/"))
    with await receive(request, reader.read, priority, needs_room=only_images) as call:
        if call.options.rerank:
            _check_variances(call)
        embeddings, timings = await embedded(call)
        results = []
        # One query after the other, so that a request never takes more than one of the store's threads.
        for query, own_id in zip(embeddings["images"], reader.own_ids, strict=True):
            if isinstance(query, ItemError):
                raise query
            find = functools.partial(_find, call, name, query, own_id)
            hits = await calls.read(call.deadline, find, call.priority)
            results.append([{"id": hit.item.id, "scores": hit.scores, "payload": hit.item.payload} for hit in hits])
        return json_answer(identity(call.engine) | {"collection": name, "results": results}, call.engine, timings)


def _check_variances(call: Call[Any]) -> None:
    for index, item in enumerate(call.lists["images"]):
        if isinstance(item, GivenEmbedding) and item.variance is None:
            text = "rerank: likelihood ratios need the variance of the embedding; send it, or search without rerank."
            raise ItemError(UnprocessableError(text), index)


def _find(call: Call[SearchOptions], name: str, query: Embedding, own_id: str | None, store: Store) -> list[Hit]:
    options = call.options
    count = max(options.k, options.rerank)
    items = store.nearest(name, query.mean, count, options.metric, options.filter or {}, own_id)
    spec, rerank = call.engine.manifest.embedding, options.rerank > 0
    return rank(query, items, spec, options.metric, rerank=rerank, prior=options.prior)[: options.k]
