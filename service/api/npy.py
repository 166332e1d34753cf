"""The `.npy` format, in and out; only plain arrays of one expected dtype come in, and nothing is ever unpickled."""

import contextlib
import functools
import io
from typing import Any, TypeVar

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from service.api.errors import RequestError, UnprocessableError

__all__ = ["NPY_MAGIC", "read_npy", "write_npy"]

ScalarT = TypeVar("ScalarT", bound=np.generic)
NPY_MAGIC = npy_format.MAGIC_PREFIX
_MAX_HEADER_BYTES = 4096
_KEPT = 256  # headers: the same few come again and again, and numpy takes longer for one than for a small batch


def read_npy(data: bytes, dtype: type[ScalarT]) -> NDArray[ScalarT]:
    """Reads a `.npy` file without copying it.

    The header is parsed and checked against the length before anything is allocated, which `numpy.load` does not
    do: there, a header of a few bytes reserves as much memory as it claims.

    Args:
        data: The file.
        dtype: Of its values.

    Returns:
        A read-only view of at least one dimension.

    Raises:
        RequestError: Not a `.npy` file, or cut off.
        UnprocessableError: Another dtype.
    """
    begin = 10 if data[6:7] == b"\x01" else 12
    length = int.from_bytes(data[8:begin], "little")
    try:
        shape, fortran_order, found = _read_header(data[: begin + min(length, _MAX_HEADER_BYTES)])
    except Exception as error:  # numpy's parser raises whatever a corrupt header makes of it, TokenError for one
        raise RequestError(f"Expected a .npy file of version 1 or 2; its header cannot be read: {error}.") from error
    if found != dtype or not shape:
        expected = np.dtype(dtype).name
        raise UnprocessableError(f"Expected a .npy batch of dtype {expected}; found {found} of shape {list(shape)}.")
    with contextlib.suppress(TypeError, ValueError, OverflowError):  # half a value, True for a length, beyond 64 bits
        values = np.frombuffer(data, dtype, offset=begin + length)
        shaped = values.reshape(shape, order="F" if fortran_order else "C")
        if shaped.shape == shape:  # numpy takes -1 for "whatever is left"
            return np.ascontiguousarray(shaped)
    raise RequestError(
        f"The .npy file holds {len(data) - begin - length} bytes of data; its shape says something else."
    )


def write_npy(array: NDArray[np.generic]) -> bytes:
    """A `.npy` file of a plain array."""
    return _write_header(array.dtype, array.shape) + array.tobytes()


@functools.lru_cache(_KEPT)
def _read_header(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order, dtype."""
    stream = io.BytesIO(start)
    major, _ = npy_format.read_magic(stream)
    read = {1: npy_format.read_array_header_1_0, 2: npy_format.read_array_header_2_0}[major]
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream, max_header_size=_MAX_HEADER_BYTES)
    return found


@functools.lru_cache(_KEPT)
def _write_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(stream, header)
    return stream.getvalue()
