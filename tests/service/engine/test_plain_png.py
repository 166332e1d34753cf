"""The short way for plain PNGs gives what the usual way gives, pixels and errors alike, or leaves the image to it."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.engine.images import (
    DecodeLimits,
    ImageError,
    ImageTooLargeError,
    InputSpec,
    Pixels,
    decode_image,
    encode_png,
)
from service.engine.plain_png import read_plain_png

LIMITS = DecodeLimits(max_pixels=100_000)
SPECS = [InputSpec(height=5, width=7, colour_mode="L"), InputSpec(height=5, width=7, colour_mode="RGB")]
MODES = ("L", "RGB")


def noise(*shape: int, seed: int = 0, levels: int = 256) -> Pixels:
    return np.random.default_rng(seed).integers(0, levels, shape, dtype=np.uint8)


def image_of(mode: str, width: int, height: int, **options: int) -> Image.Image:
    return Image.fromarray(noise(*((height, width) if mode == "L" else (height, width, 3)), **options))


def encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of_rows(rows: bytes, width: int, height: int, colours: int, level: int = 6) -> bytes:
    """A PNG of rows that are filtered already, each behind the number of its filter."""
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    body = zlib.compress(rows, level)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def outcome(data: bytes, spec: InputSpec, limits: DecodeLimits) -> bytes | tuple[type[ImageError], str]:
    try:
        return decode_image(data, spec, limits).tobytes()
    except ImageError as error:
        return type(error), str(error)


def assert_both_ways_alike(data: bytes, limits: DecodeLimits = LIMITS) -> None:
    for spec in SPECS:
        with patch("service.engine.images.read_plain_png", return_value=None):
            expected = outcome(data, spec, limits)
        assert outcome(data, spec, limits) == expected


@settings(deadline=None)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 256]),
    compress_level=st.integers(0, 9),
    compress_type=st.integers(0, 4),
)
def test_what_pillow_writes_is_read_back(
    mode: str, width: int, height: int, levels: int, compress_level: int, compress_type: int
) -> None:
    """In every size, and by every strategy of zlib."""
    image = image_of(mode, width, height, levels=levels)
    data = encode(image, compress_level=compress_level, compress_type=compress_type)
    plain = read_plain_png(data, width * height)
    assert plain is not None
    assert (plain.mode, plain.size, plain.info) == (mode, (width, height), {})
    assert plain.tobytes() == image.tobytes()
    assert_both_ways_alike(data)


@settings(deadline=None)
@given(st.data())
def test_every_filter_of_rows_is_undone_as_the_usual_way_does(data: st.DataObject) -> None:
    """Also of rows that are too few, too many or too short, and of filters that do not exist."""
    width, height, colours = (
        data.draw(st.integers(1, 9)),
        data.draw(st.integers(1, 9)),
        data.draw(st.sampled_from([0, 2])),
    )
    row_bytes = width * (3 if colours else 1)
    filters = data.draw(st.lists(st.integers(0, 5), min_size=max(1, height - 2), max_size=height + 2))
    rows = b"".join(bytes([each]) + noise(row_bytes, seed=number).tobytes() for number, each in enumerate(filters))
    cut = data.draw(st.integers(0, 3))
    assert_both_ways_alike(png_of_rows(rows[: len(rows) - cut], width, height, colours, data.draw(st.integers(0, 9))))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_png_ends_as_it_does_the_usual_way(data: st.DataObject) -> None:
    """The same pixels, or the same error in the same words."""
    mode, levels = data.draw(st.sampled_from(MODES)), data.draw(st.sampled_from([2, 256]))
    damaged = bytearray(encode(image_of(mode, 9, 6, levels=levels)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "insert", "end"]))
        if change == "flip":
            damaged[place] ^= data.draw(st.integers(1, 255))
        elif change == "insert":
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=4))
        else:
            del damaged[place : None if change == "end" else place + data.draw(st.integers(1, 4))]
        if not damaged:
            return
    assert_both_ways_alike(bytes(damaged))


@settings(deadline=None)
@given(st.data())
def test_damage_with_a_right_checksum_ends_as_it_does_the_usual_way(data: st.DataObject) -> None:
    """Headers of any content, over pixels that may not belong to them."""
    sizes = st.sampled_from([0, 1, 6, 9, 10, 65_537, 2**31, 2**32 - 1])
    header = struct.pack(">II", data.draw(sizes), data.draw(sizes)) + bytes(
        data.draw(st.tuples(st.sampled_from([1, 8, 16]), *[st.integers(0, 3)] * 4))
    )
    damaged = bytearray(encode(image_of("RGB", 9, 6)))
    damaged[8:33] = chunk(b"IHDR", header)
    assert_both_ways_alike(bytes(damaged))


@pytest.mark.parametrize("end", range(60))
def test_compressed_data_that_end_early_are_no_image(end: int) -> None:
    whole = zlib.compress(bytes(29 * 28) + noise(1).tobytes())
    start = encode(image_of("L", 28, 28))[:33]
    assert_both_ways_alike(start + chunk(b"IDAT", whole[:end]) + chunk(b"IEND", b""))


def with_chunk(name: bytes, body: bytes, place: int = 33) -> bytes:
    plain = encode(image_of("RGB", 9, 6))
    return plain[:place] + chunk(name, body) + plain[place:]


def with_two_idats() -> bytes:
    plain = encode(image_of("RGB", 9, 6))
    body = plain[41:-16]
    return plain[:33] + chunk(b"IDAT", body[:50]) + chunk(b"IDAT", body[50:]) + plain[-12:]


def with_text() -> bytes:
    text = PngInfo()
    text.add_text("Comment", "hello")
    return encode(image_of("RGB", 9, 6), pnginfo=text)


def with_orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image_of("RGB", 9, 6), exif=exif)


def interlaced() -> bytes:
    return png_of_rows(bytes(19 * 6), 9, 6, 0).replace(
        chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 6, 8, 0, 0, 0, 0)),
        chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 6, 8, 0, 0, 0, 1)),
    )


NOT_PLAIN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a signature": lambda: encode(image_of("L", 9, 6))[:8],
    "tRNS": lambda: encode(image_of("RGB", 9, 6), transparency=(0, 0, 0)),
    "gAMA": lambda: with_chunk(b"gAMA", struct.pack(">I", 45_455)),
    "eXIf": with_orientation,
    "pHYs": lambda: encode(image_of("RGB", 9, 6), dpi=(72, 72)),
    "tEXt": with_text,
    "a chunk after the pixels": lambda: with_chunk(b"tEXt", b"a\0b", len(encode(image_of("RGB", 9, 6))) - 12),
    "a palette": lambda: encode(image_of("RGB", 9, 6).quantize(8)),
    "alpha": lambda: encode(image_of("RGB", 9, 6).convert("RGBA")),
    "16 bits": lambda: encode(Image.fromarray(np.arange(54, dtype=np.uint16).reshape(6, 9))),
    "1 bit": lambda: encode(image_of("L", 9, 6).convert("1")),
    "interlace": interlaced,
    "two IDATs": with_two_idats,
    "an IDAT of nothing": lambda: encode(image_of("L", 9, 6))[:33] + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
    "trailing bytes": lambda: encode(image_of("RGB", 9, 6)) + b"\0",
    "more pixels": lambda: encode(Image.new("L", (65_537, 1))),
    "more bytes": lambda: encode(image_of("RGB", 200, 200)),
    "frames": lambda: encode(image_of("L", 9, 6), save_all=True, append_images=[image_of("L", 9, 6, seed=1)]),
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_what_is_not_plain_goes_the_usual_way(kind: str) -> None:
    data = NOT_PLAIN[kind]()
    assert read_plain_png(data, 100_000) is None
    assert_both_ways_alike(data)


@pytest.mark.parametrize("mode", MODES)
def test_the_limit_on_pixels_holds_and_says_so_in_the_same_words(mode: str) -> None:
    data = encode(image_of(mode, 30, 20))
    assert read_plain_png(data, 600) is not None
    assert read_plain_png(data, 599) is None
    assert_both_ways_alike(data, DecodeLimits(max_pixels=599))
    with pytest.raises(ImageTooLargeError, match="30 × 20 = 600 pixels; at most 599 are accepted"):
        decode_image(data, SPECS[0], DecodeLimits(max_pixels=599))


@pytest.mark.parametrize("channels", [1, 3])
def test_our_own_pngs_are_plain(channels: int) -> None:
    """Those of clients and benchmarks, for which there is a short way at all."""
    pixels = noise(28, 28, channels)
    plain = read_plain_png(encode_png(pixels), 784)
    assert plain is not None
    np.testing.assert_array_equal(np.asarray(plain).reshape(pixels.shape), pixels)
