"""A short way to the pixels of a small JPEG that holds nothing but a picture, as web sites and cameras' previews do.

Pillow reads the segments before the picture in Python, which takes a fifth as long as decoding a thumbnail. Only two
of them matter here: the one that has the size, and one that may turn the picture. Knows Pillow's decoder of the
compressed picture; refuses nothing, as whatever is not plain, or is damaged, goes the usual way and is judged there.
"""

import struct

from PIL import Image

__all__ = ["read_plain_jpeg"]

_START = b"\xff\xd8\xff"
_SEGMENT = struct.Struct(">BBH")  # 0xFF, what it is, and the length of what follows, these two bytes included
_FRAME = struct.Struct(">BHHB")  # bits of a sample, height, width, components
_BASELINE, _PROGRESSIVE, _SCAN = 0xC0, 0xC2, 0xDA
_JFIF, _PROFILE, _ADOBE = 0xE0, 0xE2, 0xEE
_LEAST_BYTES = {_JFIF: 16, _ADOBE: 14}  # in a shorter one Pillow would miss something
_PASSED_OVER = frozenset({_JFIF, _PROFILE, _ADOBE, 0xC4, 0xDB, 0xDD, 0xFE})  # beside tables, restarts and comments
_MODES = {1: "L", 3: "RGB"}
_SCALES = (8, 4, 2)
_MOST_BYTES = 65_536  # Pillow's decoder gets more bytes than these in pieces, and may judge otherwise
_MOST_PIXELS = 1 << 20  # what the usual way does once more must not be much


def read_plain_jpeg(data: bytes, max_pixels: int, least_px: int | None) -> Image.Image | None:
    """Decodes a JPEG of at most 64 KiB and a million pixels, grey or colour, baseline or progressive, without EXIF.

    Args:
        data: The whole file.
        max_pixels: Larger images are left to the usual way, which refuses them in its words.
        least_px: It may be decoded at a half, a quarter or an eighth of its size, if no side gets shorter than this,
            as by Pillow's `draft`; None for the whole size.

    Returns:
        The image, `L` or `RGB`, or None if it has to go the usual way.
    """
    if len(data) > _MOST_BYTES or not data.startswith(_START):
        return None
    try:
        bits, height, width, components = _read_frame(data)
    except (struct.error, ValueError):
        return None
    mode = _MODES.get(components)
    if bits != 8 or mode is None or not 0 < width * height <= min(max_pixels, _MOST_PIXELS):
        return None
    spare = 1 if least_px is None else min(width, height) // least_px
    scale = next((each for each in _SCALES if each <= spare), 1)
    size = -(-width // scale), -(-height // scale)
    try:
        return Image.frombytes(mode, size, data, "jpeg", mode, "", scale, 0)
    except (ValueError, OSError):
        return None


def _read_frame(data: bytes) -> tuple[int, int, int, int]:
    """What the header of the picture says, if nothing stands before the picture that is not plain.

    Raises:
        ValueError: Something does.
        struct.error: The file ends before.
    """
    place, frame = 2, None
    while True:
        start, kind, length = _SEGMENT.unpack_from(data, place)
        if start != 0xFF:
            raise ValueError("no segment")
        if kind == _SCAN and frame is not None:
            return frame
        if kind in {_BASELINE, _PROGRESSIVE} and frame is None:
            frame = _FRAME.unpack_from(data, place + 4)
        elif (
            kind not in _PASSED_OVER or length < _LEAST_BYTES.get(kind, 2) or _may_be_one_of_several(data, place, kind)
        ):
            raise ValueError("not plain")
        place += 2 + length


def _may_be_one_of_several(data: bytes, place: int, kind: int) -> bool:
    return kind == _PROFILE and not data.startswith(b"ICC_PROFILE\0", place + 4)
