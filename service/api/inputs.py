"""The four request forms, brought to one: options, and items by the name of their list.

Raw image bytes · a `.npy` batch · JSON with base64 · multipart with files. Images are not decoded here.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from starlette.requests import Request

from service.api.errors import RequestError, UnsupportedMediaTypeError
from service.api.json_items import Item, parse_json
from service.api.limits import Body, check_count
from service.api.multipart_form import PartsReader
from service.api.npy import NPY_MAGIC, read_npy
from service.api.threads import off_loop
from service.engine.priority import Priority

__all__ = [
    "MAX_OPTIONS",
    "UNKNOWN_TYPES",
    "Form",
    "asked_priority",
    "gather",
    "media_type",
    "merge",
    "query_options",
    "read_form",
    "without_parameters",
]

T = TypeVar("T")
Kind = Literal["image", "npy", "json", "multipart", "unknown"]

_LISTS = frozenset({"metrics"})  # the options that may be repeated as query parameters or form fields
MAX_OPTIONS = 32
"""Of one form."""
UNKNOWN_TYPES = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What curl sends unasked, and what clients send that know nothing of their bytes: the first bytes decide."""


@dataclass(frozen=True)
class Form:
    """A request after its wrapping is off.

    Attributes:
        options: Names and values, unchecked.
        lists: Items by list: `images`, `latents`, or `left` and perhaps `right`.
    """

    options: dict[str, Any]
    lists: dict[str, list[Item]]

    def with_query(self, query: dict[str, Any]) -> "Form":
        """The same with the options in the query.

        Raises:
            RequestError: One is in both.
        """
        return Form(merge(query, self.options), self.lists) if query else self


ParseJson = Callable[[bytes, Sequence[str], int], tuple[dict[str, Any], dict[str, list[Item]]]]


async def read_form(
    request: Request,
    query: dict[str, Any],
    names: Sequence[str],
    content: Body,
    max_items: int,
    parse: ParseJson = parse_json,
    aside: Callable[[bytes], T | None] = lambda _: None,
) -> Form | T:
    """Reads the body in whichever form it comes.

    Args:
        request: Its headers are used, not its body.
        query: The options in its query.
        names: The lists that the route takes. Raw images and `.npy` go to the first one, and so do all files of a
            multipart body when it is the only one.
        content: The body.
        max_items: The most items of all lists together.
        parse: Reads the JSON form: from the body, `names` and `max_items` to options and lists.
        aside: Sees a JSON body first; what it makes of one is returned, unless that is None.

    Raises:
        RequestError: The form is malformed.
        TooManyItemsError: More than `max_items`.
        UnsupportedMediaTypeError: None of the forms.
    """
    kind = _kind(media_type(request))
    form: Form | T
    if kind == "multipart":
        form = await _read_multipart(request, names, content, max_items)
    else:
        body = await content.read()
        form = await off_loop(len(body), lambda: _parse(kind, body, names, max_items, parse, aside))
    return form.with_query(query) if isinstance(form, Form) else form


def merge(query: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The options of the query and of the body.

    Raises:
        RequestError: One of them is in both.
    """
    twice = sorted(query.keys() & body.keys())
    if twice:
        raise RequestError(f"{twice[0]} is given twice, in the query and in the body; give it once.")
    return query | body


def media_type(request: Request) -> str:
    """The Content-Type, without parameters and in lower case."""
    return without_parameters(request.headers.get("content-type", ""))


@functools.lru_cache(64)
def without_parameters(content_type: str) -> str:
    """A media type alone, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def query_options(request: Request) -> dict[str, Any]:
    """The options in the query, unchecked.

    Raises:
        RequestError: One of them is given twice.
    """
    return gather(request.query_params.multi_items()) if request.scope["query_string"] else {}


def asked_priority(query: Mapping[str, Any]) -> Priority:
    """The priority, as far as it is known before the body is read."""
    return "bulk" if query.get("priority") == "bulk" else "interactive"


def _kind(given: str) -> Kind:
    if given in UNKNOWN_TYPES:
        return "unknown"
    if given.startswith("image/"):
        return "image"
    match given:
        case "application/json":
            return "json"
        case "application/x-npy":
            return "npy"
        case "multipart/form-data":
            return "multipart"
    raise UnsupportedMediaTypeError(
        "Expected Content-Type image/*, application/json, multipart/form-data, application/x-npy, or for /embed "
        f"application/x-ndjson; found {given[:100]!r}."
    )


def _parse(
    kind: Kind,
    body: bytes,
    names: Sequence[str],
    max_items: int,
    parse: ParseJson,
    aside: Callable[[bytes], T | None],
) -> Form | T:
    if kind == "npy" or (kind == "unknown" and body.startswith(NPY_MAGIC)):
        pixels = read_npy(body, np.uint8)
        check_count(len(pixels), max_items)
        return Form({}, {names[0]: list(pixels)})
    if kind == "json" or (kind == "unknown" and body.lstrip()[:1] == b"{"):
        other = aside(body)
        return Form(*parse(body, names, max_items)) if other is None else other
    if not body:
        raise RequestError("Expected an image in the body; found nothing.")
    return Form({}, {names[0]: [body]})


async def _read_multipart(request: Request, names: Sequence[str], content: Body, max_items: int) -> Form:
    lists: dict[str, list[Item]] = {}
    texts: list[tuple[str, str]] = []
    reader = PartsReader(request.headers["content-type"], max_items + MAX_OPTIONS)
    async for piece in content.pieces():
        reader.feed(piece)
    reader.close()
    for part in reader.parts:
        if part.is_file:
            lists.setdefault(_list_of(part.name, names), []).append(part.content)
        else:
            texts.append((part.name, part.text))
    check_count(sum(map(len, lists.values())), max_items)
    if len(texts) > MAX_OPTIONS:
        raise RequestError(f"Expected at most {MAX_OPTIONS} options, found {len(texts)} fields that are no files.")
    if names[0] not in lists:
        hint = "" if len(names) == 1 else f" in the field {names[0]!r}"
        raise RequestError(f"Expected at least one file{hint} (curl -F {names[0]}=@photo.jpg); found none.")
    return Form(gather(texts), lists)


def _list_of(field: str, names: Sequence[str]) -> str:
    if len(names) > 1 and field not in names:
        raise RequestError(f"Unknown file field {field!r}; expected {' or '.join(names)}.")
    return field if len(names) > 1 else names[0]


def gather(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Options of names and texts; RequestError where one that is no list is given twice."""
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name in _LISTS:
            options.setdefault(name, []).append(value)
        elif name in options:
            raise RequestError(f"{name} is given twice; give it once.")
        else:
            options[name] = value
    return options
