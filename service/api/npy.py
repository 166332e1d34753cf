"""The `.npy` format, in and out; only plain uint8 arrays come in, and nothing is ever unpickled."""

import contextlib
import io

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from service.api.errors import RequestError, UnprocessableError
from service.engine.images import Pixels

__all__ = ["NPY_MAGIC", "read_npy", "write_npy"]

NPY_MAGIC = npy_format.MAGIC_PREFIX
_MAX_HEADER_BYTES = 4096


def read_npy(data: bytes) -> Pixels:
    """Reads a `.npy` file without copying it.

    The header is parsed and checked against the length before anything is allocated, which `numpy.load` does not
    do: there, a header of a few bytes reserves as much memory as it claims.

    Returns:
        A read-only view of at least one dimension.

    Raises:
        RequestError: Not a `.npy` file, or cut off.
        UnprocessableError: Another dtype than uint8.
    """
    stream = io.BytesIO(data)
    try:
        major, _ = npy_format.read_magic(stream)
        read = {1: npy_format.read_array_header_1_0, 2: npy_format.read_array_header_2_0}[major]
        shape, fortran_order, dtype = read(stream, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # numpy's parser raises whatever a corrupt header makes of it, TokenError for one
        raise RequestError(f"Expected a .npy file of version 1 or 2; its header cannot be read: {error}.") from error
    if dtype != np.uint8 or not shape:
        raise UnprocessableError(f"Expected a .npy batch of dtype uint8; found {dtype} of shape {list(shape)}.")
    pixels = np.frombuffer(data, np.uint8, offset=stream.tell())
    with contextlib.suppress(
        TypeError, ValueError, OverflowError
    ):  # True for a length, another product, beyond 64 bits
        shaped = pixels.reshape(shape, order="F" if fortran_order else "C")
        if shaped.shape == shape:  # numpy takes -1 for "whatever is left"
            return np.ascontiguousarray(shaped)
    raise RequestError(f"The .npy file holds {pixels.size} bytes of data; its shape says something else.")


def write_npy(array: NDArray[np.generic]) -> bytes:
    """A `.npy` file of a plain array."""
    stream = io.BytesIO()
    npy_format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()
