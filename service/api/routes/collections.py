"""`/collections`, `/collections/{name}`, `/collections/{name}/items/{id}`: what is there, and deleting it."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.collection_documents import COLLECTION, ITEM, CollectionCard, CollectionList, StoredItem
from service.api.documentation import problems
from service.api.limits import Deadline
from service.api.outputs import json_response
from service.api.repository import Repository
from service.api.store_calls import store_of
from service.search.errors import UnknownItemError
from service.search.items import Binding, Card

__all__ = ["router"]

router = APIRouter(tags=["collections"])
_PROBLEMS = (429, 501, 504)
_GONE: dict[int | str, dict[str, Any]] = {204: {"description": "It is gone."}}


@router.get("/collections", response_model=CollectionList, responses=problems(400, *_PROBLEMS))
async def list_collections(request: Request) -> Response:
    """Every collection, with its model and how many items it has."""
    found = await store_of(request).read(_deadline(request), lambda store: store.cards())
    return json_response({"collections": [_card(request, card, items) for card, items in found]})


@router.get(
    "/collections/{name}",
    response_model=CollectionCard,
    responses=problems(400, 404, *_PROBLEMS),
    openapi_extra=COLLECTION,
)
async def show_collection(request: Request) -> Response:
    """One collection."""
    name = request.path_params["name"]
    card, items = await store_of(request).read(_deadline(request), lambda store: (store.card(name), store.count(name)))
    return json_response(_card(request, card, items))


@router.delete(
    "/collections/{name}",
    status_code=204,
    responses={**problems(400, 404, *_PROBLEMS), **_GONE},
    openapi_extra=COLLECTION,
)
async def delete_collection(request: Request) -> Response:
    """Deletes a collection with all its items."""
    name = request.path_params["name"]
    await store_of(request).write(_deadline(request), lambda store: store.drop(name))
    return Response(status_code=204)


@router.get(
    "/collections/{name}/items/{id:path}",
    response_model=StoredItem,
    responses=problems(400, 404, *_PROBLEMS),
    openapi_extra=ITEM,
)
async def show_item(request: Request) -> Response:
    """One item, with its payload, its embedding and its variance."""
    name, wanted = request.path_params["name"], request.path_params["id"]
    card, found = await store_of(request).read(
        _deadline(request), lambda store: (store.card(name), store.items(name, [wanted]))
    )
    if wanted not in found:
        raise UnknownItemError(name, wanted)
    item = found[wanted]
    content = {"id": item.id, "payload": item.payload, "embedding": item.mean, "variance": item.variance}
    return json_response(_identity(card.name, card.binding) | content)


@router.delete(
    "/collections/{name}/items/{id:path}",
    status_code=204,
    responses={**problems(400, 404, *_PROBLEMS), **_GONE},
    openapi_extra=ITEM,
)
async def delete_item(request: Request) -> Response:
    """Takes one item out of a collection."""
    name, wanted = request.path_params["name"], request.path_params["id"]
    await store_of(request).write(_deadline(request), lambda store: store.delete_item(name, wanted))
    return Response(status_code=204)


def _deadline(request: Request) -> Deadline:
    return Deadline.of(request, request.app.state.settings.request_timeout_s)


def _card(request: Request, card: Card, items: int) -> dict[str, Any]:
    repository: Repository = request.app.state.repository
    loaded = any(engine.fingerprint == card.binding.fingerprint for engine in repository.engines)
    about = {"dim": card.binding.dim, "created": card.created, "items": items, "loaded": loaded}
    return _identity(card.name, card.binding) | about


def _identity(name: str, binding: Binding) -> dict[str, Any]:
    return {
        "model": binding.model,
        "version": binding.version,
        "fingerprint": binding.fingerprint,
        "collection": name,
    }
