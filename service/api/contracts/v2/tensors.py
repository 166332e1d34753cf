"""Tensors as items, and arrays as tensors: JSON values, or little-endian bytes in row-major order.

In binary a BYTES element has its length before it, as 32 bits. In JSON it is base64, as JSON has no bytes.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.contracts.v2.envelope import InputTensor
from service.api.contracts.v2.models import TensorSpec
from service.api.errors import ItemError, RequestError, UnprocessableError
from service.api.json_items import GivenEmbedding, Item, decode_base64, type_name
from service.api.limits import check_count

__all__ = ["items_of", "items_of_raw"]

_LENGTH_BYTES = 4
_DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}


def items_of(tensor: InputTensor, binary: bytes | memoryview, spec: TensorSpec, max_items: int) -> list[Item]:
    """The items of an input.

    Args:
        tensor: The input.
        binary: Its bytes; of no meaning where its parameters give no size of them.
        spec: What the model takes.
        max_items: Checked before anything is made of the tensor.

    Raises:
        RequestError: The data is not what datatype and shape say.
        UnprocessableError: Another datatype or shape than the model takes.
        TooManyItemsError: More than `max_items`.
        ItemError: One item is not base64, or not finite.
    """
    count = _count(tensor, spec)
    check_count(count, max_items)
    is_binary = tensor.parameters is not None and tensor.parameters.binary_data_size is not None
    if spec.datatype == "BYTES":
        return list(_split(binary, count) if is_binary else _from_base64(_elements(tensor), count))
    shape = (count, *spec.shape)
    return _rows(_from_bytes(binary, spec, shape) if is_binary else _from_numbers(tensor, spec, shape))


def items_of_raw(body: bytes, spec: TensorSpec, max_items: int) -> list[Item]:
    """The items of a request that is nothing but one tensor: one element of BYTES, or as many numbers as there are.

    Raises:
        RequestError: Not a whole number of items.
        TooManyItemsError: More than `max_items`.
        ItemError: One item is not finite.
    """
    if spec.datatype == "BYTES":
        return [body]
    size_bytes = math.prod(spec.shape) * _DTYPES[spec.datatype].itemsize
    count, rest = divmod(len(body), size_bytes)
    if rest:
        raise RequestError(f"Expected a multiple of {size_bytes} bytes, so many for each item; found {len(body)}.")
    check_count(count, max_items)
    return _rows(_from_bytes(body, spec, (count, *spec.shape)))


def _count(tensor: InputTensor, spec: TensorSpec) -> int:
    """The length of the first axis; where the last one has length 1, it may be left out."""
    found, shape = tuple(tensor.shape), ("N", *spec.shape)
    if tensor.datatype != spec.datatype:
        text = f"{spec.name}: expected datatype {spec.datatype}; found {tensor.datatype[:20]!r}."
        raise UnprocessableError(text)
    allowed = {spec.shape, spec.shape[:-1]} if spec.shape[-1] == 1 else {spec.shape}
    if not found or found[1:] not in allowed:
        raise UnprocessableError(f"{spec.name}: expected shape {_written(shape)}; found {_written(found)}.")
    return found[0]


def _written(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _split(binary: bytes | memoryview, count: int) -> list[bytes]:
    elements: list[bytes] = []
    place = 0
    while place < len(binary) and len(elements) < count:
        begin = place + _LENGTH_BYTES
        place = begin + int.from_bytes(binary[place:begin], "little")
        elements.append(bytes(binary[begin:place]))
    if len(elements) != count or place != len(binary):
        raise RequestError(
            f"Expected {count} elements, each behind its length in 4 bytes; the {len(binary)} bytes of binary data "
            "hold something else."
        )
    return elements


def _from_base64(values: list[Any], count: int) -> list[bytes]:
    if len(values) != count:
        raise RequestError(f"Expected {count} elements in 'data', as 'shape' says; found {len(values)}.")
    elements: list[bytes] = []
    for index, value in enumerate(values):
        try:
            elements.append(_element(value))
        except RequestError as error:
            raise ItemError(error, index) from error
    return elements


def _element(value: object) -> bytes:
    if not isinstance(value, str):
        raise RequestError(f"Expected base64 or a data URI; found {type_name(value)}.")
    return decode_base64(value)


def _elements(tensor: InputTensor) -> list[Any]:
    """Of BYTES, flat, or nested as the shape may be."""
    values = _data(tensor)
    return list(chain.from_iterable(values)) if values and all(isinstance(value, list) for value in values) else values


def _data(tensor: InputTensor) -> list[Any]:
    if not isinstance(tensor.data, list):
        raise RequestError(
            f"{tensor.name}: expected a list 'data', or the parameter 'binary_data_size' and as many bytes after the "
            f"JSON; found {type_name(tensor.data)}."
        )
    return tensor.data


def _from_bytes(binary: bytes | memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = _DTYPES[spec.datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(binary) != expected:
        raise RequestError(
            f"Expected {expected} bytes of binary data for {spec.datatype} of shape {_written(shape)}; "
            f"found {len(binary)}."
        )
    return np.frombuffer(binary, dtype).reshape(shape)


def _from_numbers(tensor: InputTensor, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    data = _data(tensor)
    try:  # of a given dtype, as numpy otherwise gives every number the room of the longest text among them
        wide = np.asarray(data, np.float64)
    except (ValueError, TypeError, OverflowError) as error:  # lists of different lengths; texts; 400 digits
        raise RequestError(f"{spec.name}: expected numbers in 'data', flat or nested as 'shape' says.") from error
    if wide.size != math.prod(shape):
        raise RequestError(f"Expected {math.prod(shape)} numbers in 'data', as 'shape' says; found {wide.size}.")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is told below, or by whoever takes rows
        values = wide.astype(_DTYPES[spec.datatype])
    if spec.datatype == "UINT8" and not np.array_equal(values, wide):
        raise RequestError(f"{spec.name}: expected whole numbers from 0 to 255 in 'data'; found another.")
    return values.reshape(shape)


def _rows(values: NDArray[Any]) -> list[Item]:
    """Pixels as they are, and latents as embeddings that the client brings."""
    if values.dtype == np.uint8:
        return list(values)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        error = UnprocessableError("Expected finite numbers; found one that is not.")
        raise ItemError(error, int(finite.argmin()))
    return [GivenEmbedding(row, None) for row in values.astype(np.float32, copy=False)]
