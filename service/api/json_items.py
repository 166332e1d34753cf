"""The JSON form: options, and lists of base64 images or ready embeddings."""

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from service.api.errors import ItemError, RequestError
from service.engine.images import Pixels
from service.engine.results import Floats

__all__ = ["GivenEmbedding", "Item", "decode_base64", "parse_json"]

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, eq=False)
class GivenEmbedding:
    """An embedding that the client brings; without a variance, only distances between means are defined."""

    mean: Floats
    variance: Floats | None


Item = bytes | Pixels | GivenEmbedding


def parse_json(
    body: bytes, names: Sequence[str], check_count: Callable[[int], None]
) -> tuple[dict[str, Any], dict[str, list[Item]]]:
    """Reads a JSON body.

    Args:
        body: One object.
        names: The lists that the route takes; the first one is needed.
        check_count: Refuses too many items, before any of them is decoded.

    Returns:
        What is not one of the lists, unchecked; and the lists.

    Raises:
        RequestError: Not JSON, not an object, or lists that are none.
        ItemError: An item that is neither base64 nor an embedding.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The body is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise RequestError(f"Expected a JSON object; found {_type(content)}.")
    lists = {name: content.pop(name) for name in names if name in content}
    for name, value in lists.items():
        if not isinstance(value, list):
            raise RequestError(f"{name}: expected a list; found {_type(value)}.")
    if names[0] not in lists:
        raise RequestError(f"Expected a list {names[0]!r} in the JSON object; found none.")
    check_count(sum(map(len, lists.values())))
    two_sided = len(names) > 1
    return content, {name: _items(value, name if two_sided else None) for name, value in lists.items()}


def decode_base64(text: str) -> bytes:
    """Decodes base64, of either alphabet and with any line breaks, or a base64 data URI of any media type.

    Raises:
        RequestError: It is something else; web addresses are never fetched.
    """
    if text.startswith(("http://", "https://", "file:")):
        raise RequestError("Expected base64 or a data URI; found a web address, which this server does not fetch.")
    if text.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.endswith(";base64"):
            raise RequestError("Expected a data URI with ';base64,' before its data.")
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, _BLANKS)
        return binascii.a2b_base64(plain, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RequestError(f"Expected base64 or a data URI; the text is neither: {error}.") from error


def _items(values: list[Any], side: str | None) -> list[Item]:
    items: list[Item] = []
    for index, value in enumerate(values):
        try:
            items.append(_item(value, embeddings=side is not None))
        except RequestError as error:
            raise ItemError(error, index, side) from error
    return items


def _item(value: object, *, embeddings: bool) -> Item:
    if isinstance(value, str):
        return decode_base64(value)
    if embeddings and isinstance(value, dict):
        return _given(value)
    expected = "base64, a data URI or an object with an embedding" if embeddings else "base64 or a data URI"
    raise RequestError(f"Expected {expected}; found {_type(value)}.")


def _given(value: Mapping[str, Any]) -> GivenEmbedding:
    unknown = sorted(value.keys() - {"embedding", "variance"})
    if unknown or "embedding" not in value:
        found = f"the unknown field {unknown[0]!r}" if unknown else "no embedding"
        raise RequestError(f"Expected {{'embedding': […], 'variance': […]}}; found {found}.")
    variance = value.get("variance")
    given = GivenEmbedding(_vector(value["embedding"]), None if variance is None else _vector(variance))
    if given.variance is not None and (given.variance < 0).any():
        raise RequestError("Expected variances of at least 0; found a negative one.")
    return given


def _vector(value: object) -> Floats:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths inside
        array = np.empty((0, 0))
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iuf":
        raise RequestError("Expected a list of numbers as embedding or variance; found something else.")
    with np.errstate(over="ignore"):
        vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise RequestError("Expected numbers within the range of float32; found one that is not.")
    return vector


def _type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
