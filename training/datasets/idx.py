"""The idx files of the MNIST family, compressed or not, read and written. Knows the format, not the data sets.

An idx file is four bytes of magic (0, 0, type, number of dimensions), the size of each dimension as a big-endian
32-bit integer, and the values. Only type 8 (uint8) occurs in the MNIST family, and only that is taken.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from service.engine.images import Pixels
from training.datasets.image_set import DataError

__all__ = ["read_idx", "write_idx"]

_UINT8 = 8


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Reads an idx file of uint8 values, gzip-compressed if its name ends in `.gz`.

    Args:
        path: The file.
        dimensions: How many dimensions it must have: 1 for labels, 3 for grey images.

    Returns:
        uint8, of the shape the file names.

    Raises:
        DataError: Missing, truncated, not gzip, or not an idx file of that kind.
    """
    kind = "gzip" if path.suffix == ".gz" else "idx"
    try:
        with gzip.open(path) if kind == "gzip" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a complete {kind} file, found {error}; download it again.") from error
    magic = bytes((0, 0, _UINT8, dimensions))
    if content[:4] != magic:
        raise DataError(
            f"{path}: expected an idx file that starts with {magic.hex(' ')} "
            f"({dimensions} dimensions of uint8), found {content[:4].hex(' ') or 'nothing'}."
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: expected a header of {start} bytes, found {len(content)}; download it again.")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: expected {math.prod(shape):,} values for shape {list(shape)}, "
            f"found {len(content) - start:,}; download it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # writable, as torch wants it


def write_idx(path: Path, values: Pixels) -> None:
    """Writes uint8 values as gzip-compressed idx; equal values give equal bytes (no name or time inside)."""
    header = bytes((0, 0, _UINT8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=9, mtime=0))
