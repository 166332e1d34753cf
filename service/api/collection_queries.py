"""What a collection is searched for: images in any of the native forms, ready embeddings, or items it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from service.api.collection_binding import bound
from service.api.collection_options import SearchOptions
from service.api.errors import ItemError, RequestError, TooManyItemsError
from service.api.exchange import Asked
from service.api.inputs import query_options, read_form
from service.api.json_items import GivenEmbedding, Item, decode_base64, given_embedding, load_object, type_name
from service.api.limits import Body, Deadline, check_count
from service.api.options import parse_options
from service.api.store_calls import store_of
from service.search.errors import InvalidSearchError, UnknownItemError
from service.search.filters import condition_of
from service.search.items import check_id
from service.search.store import Store

__all__ = ["QueriesReader"]

_MOST_RESULTS = 16_384
"""Of all queries of a request together: each is read with both its vectors."""


@dataclass(frozen=True)
class _Stored:
    """An item of the collection, by its id."""

    id: str


class QueriesReader:
    """Reads the body of one request.

    Args:
        request: Of the route.
        deadline: Of the request.

    Attributes:
        own_ids: For each query the id of the item that it is, or None; an item is not its own neighbour.
    """

    def __init__(self, request: Request, deadline: Deadline) -> None:
        self._request, self._deadline = request, deadline
        self.own_ids: list[str | None] = []

    async def read(self, body: Body) -> Asked[SearchOptions]:
        """What is asked, as `exchange.receive` wants it.

        Raises:
            ApiError: It is refused; see the table in `errors`.
            SearchError: Likewise.
        """
        request, name = self._request, self._request.path_params["name"]
        calls = store_of(request)
        card = await calls.read(self._deadline, lambda store: store.card(name))
        max_items = request.app.state.settings.max_items
        form = await read_form(request, query_options(request), ("images",), body, max_items, _parse_queries)
        options = parse_options(SearchOptions, form.options)
        queries: list[Any] = form.lists["images"]
        _check(options, len(queries))
        self.own_ids = [query.id if isinstance(query, _Stored) else None for query in queries]
        # The collection's own items need no fingerprint; other embeddings do.
        foreign = [query for query in queries if not isinstance(query, _Stored)]
        asked = bound(request.app.state.repository, card, options, foreign)
        if any(self.own_ids):
            queries = await calls.read(self._deadline, lambda store: _look_up(store, name, queries))
        return Asked(asked.options, {"images": queries})


def _parse_queries(body: bytes, _names: Sequence[str], max_items: int) -> tuple[dict[str, Any], dict[str, list[Item]]]:
    content = load_object(body, max_items)
    values = content.pop("queries", None)
    if not isinstance(values, list):
        raise RequestError(f"queries: expected a list; found {type_name(values)}.")
    check_count(len(values), max_items)
    queries: list[Any] = []
    for index, value in enumerate(values):
        try:
            queries.append(_query(value))
        except (RequestError, InvalidSearchError) as error:
            raise ItemError(error, index) from error
    return content, {"images": queries}


def _query(value: Any) -> Item | _Stored:
    if isinstance(value, str):
        return decode_base64(value)
    if not isinstance(value, dict):
        raise RequestError(
            "Expected base64, a data URI, an object with an embedding, or an object with the id of an item; found "
            f"{type_name(value)}."
        )
    return _Stored(check_id(value["id"])) if value.keys() == {"id"} else given_embedding(value)


def _check(options: SearchOptions, queries: int) -> None:
    wanted = queries * max(options.k, options.rerank)
    if wanted > _MOST_RESULTS:
        raise TooManyItemsError(
            f"{queries} queries for {max(options.k, options.rerank):,} items each are {wanted:,} results; at most "
            f"{_MOST_RESULTS:,} are given at once, so ask for fewer or send several requests."
        )
    condition_of(options.filter or {})  # so that a filter is refused before anything is embedded


def _look_up(store: Store, name: str, queries: Sequence[Any]) -> list[Item]:
    """The queries with embeddings in the places of ids."""
    stored = store.items(name, sorted({query.id for query in queries if isinstance(query, _Stored)}))
    found: list[Item] = []
    for index, query in enumerate(queries):
        if not isinstance(query, _Stored):
            found.append(query)
        elif query.id in stored:
            found.append(GivenEmbedding(stored[query.id].mean, stored[query.id].variance))
        else:
            raise ItemError(UnknownItemError(name, query.id), index)
    return found
