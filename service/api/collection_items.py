"""Items on their way into a collection: JSON with images or ready embeddings, or a form with ids as file names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from service.api.collection_binding import bound
from service.api.collection_options import AddOptions
from service.api.errors import ItemError, RequestError, UnsupportedMediaTypeError
from service.api.exchange import Asked
from service.api.inputs import MAX_OPTIONS, UNKNOWN_TYPES, gather, media_type, merge, query_options
from service.api.json_items import Item, decode_base64, given_embedding, load_object, type_name
from service.api.limits import Body, Deadline, check_count
from service.api.multipart_form import Part, PartsReader
from service.api.options import parse_options
from service.api.store_calls import store_of
from service.api.threads import off_loop
from service.search.errors import InvalidSearchError
from service.search.items import check_id, encode_payload

__all__ = ["ItemsReader"]

_FORM = "multipart/form-data"
_PAYLOADS = "payloads"


@dataclass(frozen=True)
class _Entry:
    """One item as it was sent."""

    id: str
    item: Item
    payload: Mapping[str, Any]


class ItemsReader:
    """Reads the body of one request.

    Args:
        request: Of the route.
        deadline: Of the request.

    Attributes:
        entries: What was read, in order.
    """

    def __init__(self, request: Request, deadline: Deadline) -> None:
        self._request, self._deadline = request, deadline
        self._max_items: int = request.app.state.settings.max_items
        self.entries: list[_Entry] = []

    @property
    def brings_images(self) -> bool:
        """Whether it is known before the body is read; JSON may be of ready embeddings alone."""
        return media_type(self._request) == _FORM

    async def read(self, body: Body) -> Asked[AddOptions]:
        """What is asked, as `exchange.receive` wants it.

        Raises:
            ApiError: It is refused; see the table in `errors`.
            SearchError: Likewise.
        """
        name = self._request.path_params["name"]
        card = await store_of(self._request).read(self._deadline, lambda store: store.find(name))
        given, self.entries = await (self._read_form(body) if self.brings_images else self._read_json(body))
        _check_unique([entry.id for entry in self.entries])
        options = parse_options(AddOptions, merge(query_options(self._request), given))
        return bound(self._request.app.state.repository, card, options, [entry.item for entry in self.entries])

    async def _read_json(self, body: Body) -> tuple[dict[str, Any], list[_Entry]]:
        found = media_type(self._request)
        if found != "application/json" and found not in UNKNOWN_TYPES:
            raise UnsupportedMediaTypeError(
                f"Expected items as application/json or {_FORM}; found Content-Type {found[:100]!r}."
            )
        text = await body.read()
        return await off_loop(len(text), lambda: _parse_json(text, self._max_items))

    async def _read_form(self, body: Body) -> tuple[dict[str, Any], list[_Entry]]:
        # Beside the files: options, and the payloads.
        reader = PartsReader(self._request.headers["content-type"], self._max_items + MAX_OPTIONS)
        async for piece in body.pieces():
            reader.feed(piece)
        reader.close()
        payloads = [part for part in reader.parts if part.name == _PAYLOADS]
        files = [part for part in reader.parts if part.is_file and part.name != _PAYLOADS]
        check_count(len(files), self._max_items)
        texts = [(part.name, part.text) for part in reader.parts if not part.is_file and part.name != _PAYLOADS]
        size = sum(len(part.content) for part in payloads)
        return gather(texts), await off_loop(size, lambda: _form_entries(files, payloads, self._max_items))


def _parse_json(text: bytes, max_items: int) -> tuple[dict[str, Any], list[_Entry]]:
    content = load_object(text, max_items)
    values = content.pop("items", None)
    if not isinstance(values, list):
        raise RequestError(f"items: expected a list; found {type_name(values)}.")
    check_count(len(values), max_items)
    return content, [_at(index, _json_entry, value) for index, value in enumerate(values)]


def _json_entry(value: Any) -> _Entry:
    if not isinstance(value, dict):
        raise RequestError(f"Expected an object with an 'id'; found {type_name(value)}.")
    name, payload = check_id(value.pop("id", None)), _payload(value.pop("payload", {}))
    image = value.pop("image", None)
    if image is None:
        return _Entry(name, given_embedding(value), payload)
    if not isinstance(image, str) or value:
        raise RequestError(
            "Expected {'id', 'image': base64 or data URI, 'payload'} or {'id', 'embedding', 'variance', 'payload'}; "
            f"found {', '.join(map(repr, value))[:100] or 'image: ' + type_name(image)}."
        )
    return _Entry(name, decode_base64(image), payload)


def _form_entries(files: Sequence[Part], texts: Sequence[Part], max_items: int) -> list[_Entry]:
    if not files:
        raise RequestError(
            "Expected at least one file, whose name is the item's id (curl -F image=@cat.png); found none."
        )
    if len(texts) > 1:
        raise RequestError(f"{_PAYLOADS} is given twice; give it once.")
    payloads = load_object(texts[0].content, max_items, _PAYLOADS) if texts else {}
    unknown = sorted(payloads.keys() - {file.filename for file in files})
    if unknown:
        raise RequestError(f"{_PAYLOADS}: expected the names of files of this request; found {unknown[0][:100]!r}.")

    def entry(file: Part) -> _Entry:
        return _Entry(check_id(file.filename), file.content, _payload(payloads.get(file.filename or "", {})))

    return [_at(index, entry, file) for index, file in enumerate(files)]


def _payload(value: Any) -> Mapping[str, Any]:
    encode_payload(value)
    payload: Mapping[str, Any] = value
    return payload


def _at(index: int, make: Any, value: Any) -> _Entry:
    """What is wrong with one item names it."""
    try:
        entry: _Entry = make(value)
    except (RequestError, InvalidSearchError) as error:
        raise ItemError(error, index) from error
    return entry


def _check_unique(ids: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(ids):
        if name in seen:
            error = RequestError(f"Expected each id once; found {name[:100]!r} at {seen[name]} and {index}.")
            raise ItemError(error, index)
        seen[name] = index
