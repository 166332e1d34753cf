"""`POST /collections/{name}/items`: images, or embeddings that are there already, into a collection."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.collection_binding import binding_of
from service.api.collection_documents import ADD, AddedItems
from service.api.collection_items import ItemsReader
from service.api.collection_options import AddOptions
from service.api.documentation import problems
from service.api.embedded import embedded
from service.api.errors import ItemError, problem_of
from service.api.exchange import Call, receive
from service.api.inputs import asked_priority, query_options
from service.api.json_items import GivenEmbedding
from service.api.limits import Deadline
from service.api.negotiation import JSON, preferred
from service.api.outputs import identity, json_answer
from service.api.store_calls import store_of
from service.engine.results import Embedding
from service.search.items import Added, Item

__all__ = ["router"]

router = APIRouter(tags=["collections"])


@router.post(
    "/collections/{name}/items",
    response_model=AddedItems,
    responses=problems(400, 404, 406, 408, 409, 413, 415, 422, 429, 500, 501, 504),
    openapi_extra=ADD,
)
async def add_items(request: Request) -> Response:
    """Adds items, or replaces those of the same ids; the first one makes the collection.

    The answer comes once all of them are stored, and they stay whatever happens to the server.
    """
    preferred(request.headers.get("accept"), (JSON,))
    name, calls = request.path_params["name"], store_of(request)
    reader = ItemsReader(request, Deadline.of(request, request.app.state.settings.request_timeout_s))
    priority = asked_priority(query_options(request))
    with await receive(request, reader.read, priority, needs_room=reader.brings_images) as call:
        results, timings = await embedded(call)
        items, errors = _items(call, reader, results["images"])
        done = Added(0, 0)
        if items:
            binding = binding_of(call.engine)
            done = await calls.write(call.deadline, lambda store: store.add(name, binding, items), call.priority)
            calls.soon(lambda store: store.tend(name))
        content = {"collection": name, "added": done.added, "replaced": done.replaced, "errors": errors}
        return json_answer(identity(call.engine) | content, call.engine, timings)


def _items(
    call: Call[AddOptions], reader: ItemsReader, results: list[Embedding | ItemError]
) -> tuple[list[Item], list[dict[str, Any]]]:
    items, errors = list[Item](), list[dict[str, Any]]()
    for index, (entry, result) in enumerate(zip(reader.entries, results, strict=True)):
        if isinstance(result, ItemError):
            if call.options.on_error == "fail":
                raise result
            errors.append({"index": index, "detail": problem_of(result).detail})
            continue
        unknown = isinstance(entry.item, GivenEmbedding) and entry.item.variance is None
        items.append(Item(entry.id, result.mean, None if unknown else result.variance, entry.payload))
    return items, errors
