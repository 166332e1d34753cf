"""The JSON form: options, and lists of base64 images or ready embeddings."""

import binascii
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from service.api.errors import ItemError, RequestError, TooManyItemsError
from service.api.limits import check_count
from service.engine.images import Pixels
from service.engine.results import Floats

__all__ = [
    "GivenEmbedding",
    "Item",
    "decode_base64",
    "given_embedding",
    "load_object",
    "parse_json",
    "read_vector",
    "type_name",
]

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"
_MAX_VALUES_PER_ITEM = 4096


@dataclass(frozen=True, eq=False)
class GivenEmbedding:
    """An embedding that the client brings; without a variance, only distances between means are defined."""

    mean: Floats
    variance: Floats | None


Item = bytes | Pixels | GivenEmbedding


def parse_json(
    body: bytes, names: Sequence[str], max_items: int, read: Callable[[object], Item] | None = None
) -> tuple[dict[str, Any], dict[str, list[Item]]]:
    """Reads a JSON body.

    Args:
        body: One object.
        names: The lists that the route takes; the first one is needed.
        max_items: The most items of all lists together; checked before any of them is decoded.
        read: Makes an item of a value; None takes images, and beside them embeddings where there are two lists.

    Returns:
        What is not one of the lists, unchecked; and the lists.

    Raises:
        RequestError: Not JSON, not an object, or lists that are none.
        TooManyItemsError: More than `max_items`, or more values than so many items can have.
        ItemError: A value of which no item can be made.
    """
    content = load_object(body, max_items)
    lists = {name: content.pop(name) for name in names if name in content}
    for name, value in lists.items():
        if not isinstance(value, list):
            raise RequestError(f"{name}: expected a list; found {type_name(value)}.")
    if names[0] not in lists:
        raise RequestError(f"Expected a list {names[0]!r} in the JSON object; found none.")
    check_count(sum(map(len, lists.values())), max_items)
    two_sided = len(names) > 1
    read = read or functools.partial(_image, embeddings=two_sided)
    return content, {name: _items(value, read, name if two_sided else None) for name, value in lists.items()}


def load_object(text: bytes, max_items: int, what: str = "body") -> dict[str, Any]:
    """Parses one JSON object.

    Args:
        text: UTF-8.
        max_items: How many items it may have at most; with it goes how many values are parsed at all.
        what: The text's name in messages.

    Raises:
        RequestError: It is something else.
        TooManyItemsError: It has more values than so many items can have.
    """
    _check_values(text, max_items)
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The {what} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise RequestError(f"Expected a JSON object; found {type_name(content)}.")
    return content


def decode_base64(text: str) -> bytes:
    """Decodes base64, of either alphabet, padded or not, with any line breaks; or a base64 data URI of any media type.

    Raises:
        RequestError: It is something else; web addresses are never fetched.
    """
    if text.startswith(("http://", "https://", "file:")):
        raise RequestError("Expected base64 or a data URI; found a web address, which this server does not fetch.")
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise RequestError("Expected a data URI with ';base64,' before its data.")
    try:
        plain = text.encode("ascii", "replace").translate(_URL_SAFE, _BLANKS)
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error as error:
        raise RequestError(f"Expected base64 or a data URI; the text is neither: {error}.") from error


def _check_values(body: bytes, max_items: int) -> None:
    """Millions of empty lists would hold the interpreter for seconds and take many times their bytes, once parsed."""
    count = sum(map(body.count, (b",", b"[", b"{")))
    if count > max_items * _MAX_VALUES_PER_ITEM:
        raise TooManyItemsError(
            f"The JSON has about {count:,} values; at most {max_items * _MAX_VALUES_PER_ITEM:,} are accepted "
            f"({_MAX_VALUES_PER_ITEM:,} for each of {max_items:,} items), so send several requests."
        )


def _items(values: list[Any], read: Callable[[object], Item], side: str | None) -> list[Item]:
    items: list[Item] = []
    for index, value in enumerate(values):
        try:
            items.append(read(value))
        except RequestError as error:
            raise ItemError(error, index, side) from error
    return items


def _image(value: object, *, embeddings: bool) -> Item:
    if isinstance(value, str):
        return decode_base64(value)
    if embeddings and isinstance(value, dict):
        return given_embedding(value)
    expected = "base64, a data URI or an object with an embedding" if embeddings else "base64 or a data URI"
    raise RequestError(f"Expected {expected}; found {type_name(value)}.")


def given_embedding(value: Mapping[str, Any]) -> GivenEmbedding:
    """Reads `{"embedding": […], "variance": […]}`; RequestError where it is something else."""
    unknown = sorted(value.keys() - {"embedding", "variance"})
    if unknown or "embedding" not in value:
        found = f"the unknown field {unknown[0][:100]!r}" if unknown else "no embedding"
        raise RequestError(f"Expected {{'embedding': […], 'variance': […]}}; found {found}.")
    variance = value.get("variance")
    given = GivenEmbedding(read_vector(value["embedding"]), None if variance is None else read_vector(variance))
    if given.variance is not None and (given.variance < 0).any():
        raise RequestError("Expected variances of at least 0; found a negative one.")
    return given


def read_vector(value: object) -> Floats:
    """A vector of float32 from a list of numbers, or from an array of one dimension.

    Raises:
        RequestError: It is something else, or a number is not finite in float32.
    """
    if isinstance(value, list) and not {type(number) for number in value} <= {int, float}:
        value = None  # numpy would give each number the room of the longest text among them
    array = np.empty(0) if value is None else np.asarray(value)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iuf":
        raise RequestError("Expected a list of numbers as a vector; found something else.")
    with np.errstate(over="ignore"):
        vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise RequestError("Expected numbers within the range of float32; found one that is not.")
    return vector


def type_name(value: object) -> str:
    """What JSON calls it."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
