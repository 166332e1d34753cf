"""What is an image is told by its bytes, and no bytes, truncated, damaged or hostile, do anything but fail clearly."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.engine.formats import FORMATS, sniff_format
from service.engine.images import (
    DecodeLimits,
    ImageError,
    InputSpec,
    UndecodableImageError,
    UnsupportedFormatError,
    decode_image,
)

COLOUR = InputSpec(height=12, width=16, colour_mode="RGB")
LIMITS = DecodeLimits(max_pixels=100_000)


def sample(kind: str) -> bytes:
    smooth = np.add.outer(np.arange(12), np.arange(16)).astype(np.uint8) * 9
    buffer = io.BytesIO()
    Image.fromarray(np.stack([smooth, smooth[::-1], smooth], axis=-1)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert sniff_format(sample(kind)[:64]) == kind


def test_avif_is_known_by_a_compatible_brand_and_heic_is_not_avif() -> None:
    def box(*brands: bytes) -> bytes:
        return struct.pack(">I4s4sI", 16 + 4 * len(brands), b"ftyp", b"mif1", 0) + b"".join(brands)

    assert sniff_format(box(b"miaf", b"avif")) == "AVIF"
    assert sniff_format(box(b"miaf", b"heic") + b"avif") is None


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UndecodableImageError),
        (b"hello", UnsupportedFormatError),
        (b"%!PS-Adobe-3.0 EPSF-3.0", UnsupportedFormatError),
        (b"\x00\x00\x01\x00\x01\x00\x10\x10", UnsupportedFormatError),
        (b"\x89PNG\r\n\x1a\n", UndecodableImageError),
        (b"BM", UndecodableImageError),
    ],
)
def test_what_is_not_an_image_has_a_clear_error(data: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error) as caught:
        decode_image(data, COLOUR, LIMITS)
    assert "0x" not in str(caught.value), "no addresses of our memory"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_an_image_error_wherever_it_ends(kind: str) -> None:
    data = sample(kind)
    messages = []
    for end in {*range(0, len(data), max(1, len(data) // 97)), *range(64)}:
        try:
            pixels = decode_image(data[:end], COLOUR, LIMITS)
        except ImageError as error:
            messages.append(str(error))
        else:
            assert pixels.shape == COLOUR.shape
    assert len(messages) > 60
    assert not any("0x" in message for message in messages), "no addresses of our memory"


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
)
def test_damaged_files_give_pixels_or_an_image_error(kind: str, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(sample(kind))
    for where, bytes_ in changes:
        start = int(where * len(data))
        data[start : start + len(bytes_)] = bytes_
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(data), COLOUR, LIMITS).shape == COLOUR.shape


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([sample(kind)[:12] for kind in FORMATS]), st.binary(max_size=300))
def test_noise_behind_a_signature_gives_an_image_error(start: bytes, rest: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(start + rest, COLOUR, LIMITS)
