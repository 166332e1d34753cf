"""Which images are decoded on the event loop: none that can take it more than a moment."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.engine.images import DecodeLimits, ImageTooLargeError, InputSpec
from service.engine.inputs import ImageInput, is_small, read_image

SPEC = InputSpec(height=28, width=28, colour_mode="L")


def encoded(kind: str, width: int, height: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, kind, **options)
    return buffer.getvalue()


def header(width: int, height: int) -> bytes:
    """The chunk of a PNG that tells its size: 8 bits, grey."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("image", "small"),
    [
        (encoded("PNG", 28, 28), True),
        (encoded("PNG", 256, 256), True),
        (encoded("PNG", 257, 256), False),
        (encoded("PNG", 4000, 1), True),
        (encoded("PNG", 256, 256) + bytes(4096), False),
        (encoded("WEBP", 7000, 7000, lossless=True), False),  # two kilobytes
        (encoded("JPEG", 28, 28), False),
        (b"", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (np.zeros((256, 256), np.uint8), True),
        (np.zeros((256, 256, 3), np.uint8), False),
    ],
)
def test_only_what_is_plainly_quick_to_decode_is_small(image: ImageInput, small: bool) -> None:
    assert is_small(image) is small


def test_a_second_header_does_not_make_a_small_image_large() -> None:
    first = encoded("PNG", 28, 28)
    twice = first[:33] + header(2000, 2000) + first[33:]
    assert Image.open(io.BytesIO(twice)).size == (2000, 2000)
    assert is_small(twice)
    with pytest.raises(ImageTooLargeError):
        read_image(twice, SPEC, DecodeLimits(), 1 << 20)
