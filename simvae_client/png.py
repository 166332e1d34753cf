"""Pixels as PNG, so that arrays of any size can be sent where no image library is installed."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_png"]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: grey, grey and alpha, RGB, RGBA
_FASTEST = 1


def write_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes one image, without loss.

    Args:
        pixels: Shape [H, W] or [H, W, C], with 1 to 4 channels: grey, grey and alpha, RGB, RGBA.

    Source: PNG (third edition), W3C; 8 bits a channel, no filter, not interlaced.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), _FASTEST)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
