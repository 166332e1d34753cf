"""Bodies of contracts: one JSON object, whatever its Content-Type says, and the images in it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ConfigDict, Field
from starlette.requests import Request

from service.api.errors import ItemError, RequestError
from service.api.exchange import Asked, Call, receive
from service.api.json_items import Item, decode_base64, load_object, type_name
from service.api.limits import Body, check_count
from service.api.options import Options, parse_options
from service.api.threads import off_loop

__all__ = ["ContractOptions", "Find", "asked", "image_texts", "receive_images", "refuse_texts"]

OptionsT = TypeVar("OptionsT", bound="ContractOptions")

Find = Callable[[dict[str, Any]], Sequence[object]]
"""Finds the images in a body, each as text or in one of the objects that `image_texts` unwraps."""

_IN_QUERY = ("model", "priority", "normalize")
# Where clients put an image: Jina, vLLM and OpenAI, Voyage, Elasticsearch and Roboflow.
_WRAPPERS = ("image", "image_url", "image_base64", "url", "bytes", "value")
_MOST_WRAPPERS = 3  # {"content": [{"image_url": {"url": "data:…"}}]}


class ContractOptions(Options):
    """What every contract can be asked for; what a client sends besides is ignored, as the servers it knows do.

    `model`, `priority` and `normalize` are taken from the query of the address too, where they win: that is how a
    client that cannot say them is told. `priority` is taken from nowhere else, as contracts have fields of that name
    with other meanings.
    """

    model_config = ConfigDict(extra="ignore")

    normalize: bool = Field(True, description="Scale every embedding to length 1.")


async def receive_images(request: Request, options: type[OptionsT], find: Find) -> Call[OptionsT]:
    """Reads a request in a contract; see `receive`.

    Args:
        request: Of a POST route.
        options: What the contract may be asked for.
        find: Finds its images.

    Raises:
        ApiError: It is refused; see the table in `errors`.
        ItemError: So is one of its images.
    """
    max_items = request.app.state.settings.max_items

    async def read(body: Body) -> Asked[OptionsT]:
        text = await body.read()
        return await off_loop(len(text), lambda: asked(request, load_object(text, max_items), options, find))

    return await receive(request, read, "bulk" if request.query_params.get("priority") == "bulk" else "interactive")


def asked(request: Request, content: dict[str, Any], options: type[OptionsT], find: Find) -> Asked[OptionsT]:
    """What a JSON object asks for.

    Raises:
        RequestError: An option or the place of the images is malformed.
        TooManyItemsError: More images than one request may have.
        ItemError: Something that is no image, or a web address: nothing is fetched.
    """
    in_query = {name: value for name, value in request.query_params.items() if name in _IN_QUERY}
    in_body = {
        name: value for name, value in content.items() if not (value is None or value == "" or name == "priority")
    }
    checked = parse_options(options, in_body | in_query)
    found = find(content)
    check_count(len(found), request.app.state.settings.max_items)
    return Asked(checked, {"images": [_decode(value, index) for index, value in enumerate(found)]})


def image_texts(content: dict[str, Any], name: str) -> list[object]:
    """The field of a body that holds an image or a list of them.

    Raises:
        RequestError: It is not there, or empty, or neither.
    """
    value = content.get(name)
    if isinstance(value, str | dict):
        return [value]
    if not isinstance(value, list):
        raise RequestError(f"{name}: expected an image or a list of images; found {type_name(value)}.")
    if not value:
        raise RequestError(f"{name}: expected at least one image; found an empty list.")
    return value


def refuse_texts(value: object) -> None:
    """Raises RequestError unless there are none: what the model cannot read must not be left out in silence."""
    if value:
        raise RequestError("Expected images only; found text, which this model does not read.")


def _decode(value: object, index: int) -> Item:
    try:
        return decode_base64(_unwrapped(value))
    except RequestError as error:
        raise ItemError(error, index) from error


def _unwrapped(value: object) -> str:
    for _ in range(_MOST_WRAPPERS):
        if isinstance(value, str):
            break
        value = _content_of(value)
    if isinstance(value, str):
        return value
    raise RequestError("Expected an image as base64 or a data URI; found objects within objects.")


def _content_of(value: object) -> object:
    if isinstance(value, list):
        raise RequestError(
            "Expected an image as base64 or a data URI; found a list. If that is text as numbers, tell the client not "
            "to count tokens (LangChain: check_embedding_ctx_length=False)."
        )
    if not isinstance(value, dict):
        raise RequestError(f"Expected an image as base64 or a data URI; found {type_name(value)}.")
    refuse_texts(value.get("text") or value.get("type") == "text")
    if "content" in value:
        return _only_image(value["content"])
    for name in _WRAPPERS:
        if value.get(name) is not None:
            return value[name]
    fields = ", ".join(sorted(name for name, content in value.items() if content is not None))[:100]
    raise RequestError(f"Expected an object with one of {', '.join(_WRAPPERS)}; found {fields or 'an empty one'}.")


def _only_image(parts: object) -> object:
    if not isinstance(parts, list):
        return parts
    images = [part for part in parts if not (isinstance(part, dict) and part.get("text") == "")]
    if len(images) == 1:
        return images[0]
    refuse_texts(any(isinstance(part, dict) and part.get("type") == "text" for part in images))
    raise RequestError(f"Expected one image in each content, which becomes one embedding; found {len(images)}.")
