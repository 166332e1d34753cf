"""The `.npy` format on the wire; nothing is ever unpickled."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NPY", "read_npy", "write_npy"]

NPY = "application/x-npy"


def write_npy(array: NDArray[Any]) -> bytes:
    """A `.npy` file of a plain array."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def read_npy(content: bytes) -> NDArray[Any]:
    """The array in a `.npy` file.

    Raises:
        ValueError: It is none, or it is cut off.
    """
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array
