"""The short way for plain JPEGs gives what the usual way gives, pixels and errors alike, or leaves the image to it."""

import io
import struct
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.engine.images import DecodeLimits, ImageError, InputSpec, decode_image
from service.engine.plain_jpeg import read_plain_jpeg

LIMITS = DecodeLimits(max_pixels=100_000)
SPECS = [
    InputSpec(height=5, width=7, colour_mode="RGB"),
    InputSpec(height=5, width=7, colour_mode="RGB", scaled_jpeg=True),
    InputSpec(height=9, width=4, colour_mode="L", scaled_jpeg=True),
]
MODES = ("L", "RGB")
SUBSAMPLINGS = (0, 1, 2)


def picture(mode: str = "RGB", width: int = 33, height: int = 26, seed: int = 0) -> Image.Image:
    """A gradient with some noise on it."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = np.stack([200 * x, 200 * y, 100 * x + 100 * y], axis=-1)
    noise = np.random.default_rng(seed).uniform(0, 55, channels.shape)
    return Image.fromarray((channels + noise).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


def with_segment(kind: int, body: bytes, place: int = 20) -> bytes:
    """One more, behind the JFIF segment."""
    plain = encode(picture())
    return plain[:place] + segment(kind, body) + plain[place:]


def outcome(data: bytes, spec: InputSpec, limits: DecodeLimits) -> bytes | tuple[type[ImageError], str]:
    try:
        return decode_image(data, spec, limits).tobytes()
    except ImageError as error:
        return type(error), str(error)


def assert_both_ways_alike(data: bytes, limits: DecodeLimits = LIMITS) -> None:
    for spec in SPECS:
        with patch("service.engine.images.read_plain_jpeg", return_value=None):
            expected = outcome(data, spec, limits)
        assert outcome(data, spec, limits) == expected


@settings(deadline=None)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(SUBSAMPLINGS),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 3]),
    least_px=st.sampled_from([None, 1, 5, 8, 40]),
)
def test_what_pillow_writes_is_read_as_pillow_reads_it(
    mode: str, width: int, height: int, least_px: int | None, restart: int, **options: Any
) -> None:
    """In every size and at every scale."""
    data = encode(picture(mode, width, height), restart_marker_blocks=restart, **options)
    plain = read_plain_jpeg(data, width * height, least_px)
    assert plain is not None
    with Image.open(io.BytesIO(data)) as image:
        if least_px is not None:
            image.draft(None, (least_px, least_px))
        image.load()
        assert (plain.mode, plain.size, plain.info) == (image.mode, image.size, {})
        assert plain.tobytes() == image.tobytes()
    assert_both_ways_alike(data)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_damaged_jpeg_ends_as_it_does_the_usual_way(data: st.DataObject) -> None:
    """The same pixels, or the same error in the same words; half of the damage is in what stands before the picture."""
    mode, progressive = data.draw(st.sampled_from(MODES)), data.draw(st.booleans())
    damaged = bytearray(encode(picture(mode), progressive=progressive, quality=data.draw(st.sampled_from([5, 75]))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, min(len(damaged), 200) - 1))
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
@given(
    st.integers(0xC0, 0xFE),
    st.binary(max_size=40) | st.sampled_from([b"JFIF\0", b"Adobe", b"ICC_PROFILE\0", b"Exif\0\0"]),
)
def test_a_segment_of_any_kind_and_content_changes_nothing_between_the_ways(kind: int, body: bytes) -> None:
    assert_both_ways_alike(with_segment(kind, body))


@pytest.mark.parametrize("name", ["profile", "comment", "Adobe's colours"])
def test_what_does_not_matter_is_passed_over(name: str) -> None:
    data = {
        "profile": lambda: encode(picture(), icc_profile=bytes(500)),
        "comment": lambda: encode(picture(), comment="hello"),
        "Adobe's colours": lambda: with_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"),  # RGB that was not transformed
    }[name]()
    assert read_plain_jpeg(data, 10_000, None) is not None
    assert_both_ways_alike(data)


def with_orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(), exif=exif)


def of_several() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture(seed=1)])
    return buffer.getvalue()


def with_bits(bits: int) -> bytes:
    data = bytearray(encode(picture()))
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


NOT_PLAIN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a start": lambda: encode(picture())[:3],
    "EXIF": with_orientation,
    "XMP": lambda: with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"),
    "several pictures": of_several,
    "four colours": lambda: encode(picture("CMYK")),
    "12 bits": lambda: with_bits(12),
    "a short JFIF": lambda: with_segment(0xE0, b"JFIF\0"),
    "an unknown segment": lambda: with_segment(0xED, b"Photoshop 3.0\0"),
    "two sizes": lambda: with_segment(0xC0, bytes.fromhex("08 001a 0021 03 012200 021101 031101")),
    "no size": lambda: encode(picture()).replace(b"\xff\xc0", b"\xff\xfe", 1),
    "fill bytes": lambda: encode(picture()).replace(b"\xff\xdb", b"\xff\xff\xdb", 1),
    "no pixels": lambda: encode(picture()).replace(struct.pack(">HH", 26, 33), bytes(4), 1),
    "half of it": lambda: encode(picture())[:500],
    "more bytes": lambda: encode(picture(width=300, height=300), quality=100, subsampling=0),
    "more pixels": lambda: encode(Image.new("L", (1025, 1024)), quality=1),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_whatever_is_not_plain_goes_the_usual_way(name: str) -> None:
    data = NOT_PLAIN[name]()
    assert read_plain_jpeg(data, 10_000_000, None) is None
    if data:
        assert_both_ways_alike(data, DecodeLimits(10_000_000))


def test_an_image_with_too_many_pixels_is_refused_in_the_usual_words() -> None:
    data = encode(picture(width=40, height=30))
    assert read_plain_jpeg(data, 1199, None) is None
    assert_both_ways_alike(data, DecodeLimits(1199))
