"""A short way to the pixels of a PNG that holds nothing but pixels, as encoders write small ones.

Pillow reads the chunks of a PNG in Python, which takes longer than to decode a few hundred pixels. What is told here,
at fixed places, is all it would have read. Knows Pillow's decoder of the compressed rows; refuses nothing, as whatever
is not plain, or is damaged, goes the usual way and is judged there.
"""

import struct
import zlib

from PIL import Image

__all__ = ["read_plain_png"]

_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_CHUNKS = struct.Struct(">II5sII4s")  # width, height, kind of pixels and checksum; length and name of the next chunk
_MODES = {b"\x08\0\0\0\0": "L", b"\x08\x02\0\0\0": "RGB"}  # 8 bits, grey or colour, deflated, filtered, in one pass
_FIRST_ROW = 41
_FRAME_BYTES = 57  # signature, IHDR, and what stands around the data of IDAT
_MOST_BYTES = _MOST_PIXELS = 65_536  # Pillow's decoder gets more bytes than these in pieces, and may judge otherwise


def read_plain_png(data: bytes, max_pixels: int) -> Image.Image | None:
    """Decodes a PNG of IHDR, one IDAT and IEND, with 8 bits a channel, grey or colour, and at most 65,536 pixels.

    Args:
        data: The whole file.
        max_pixels: Larger images are left to the usual way, which refuses them in its words.

    Returns:
        The image, `L` or `RGB`, or None if it has to go the usual way.
    """
    idat_bytes = len(data) - _FRAME_BYTES
    if not 0 < idat_bytes <= _MOST_BYTES or not data.startswith(_START) or not data.endswith(_END):
        return None
    width, height, kind, checksum, length, name = _CHUNKS.unpack_from(data, len(_START))
    mode = _MODES.get(kind)
    is_plain = mode is not None and name == b"IDAT" and length == idat_bytes and zlib.crc32(data[12:29]) == checksum
    if mode is None or not is_plain or not 0 < width * height <= min(max_pixels, _MOST_PIXELS):
        return None
    try:
        return Image.frombytes(mode, (width, height), data[_FIRST_ROW : _FIRST_ROW + length], "zip", mode)
    except ValueError:
        return None
