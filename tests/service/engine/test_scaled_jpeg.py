"""A JPEG may be decoded smaller than it is, if the spec says so: it stays the same picture, and large enough."""

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.engine.images import (
    DecodeLimits,
    ImageTooLargeError,
    InputSpec,
    Pixels,
    UndecodableImageError,
    decode_image,
    fit_pixels,
)

LIMITS = DecodeLimits(max_pixels=1_000_000)
SPEC = InputSpec(height=24, width=32, colour_mode="RGB", scaled_jpeg=True)


def full(spec: InputSpec) -> InputSpec:
    return spec.model_copy(update={"scaled_jpeg": False})


def picture(width: int = 640, height: int = 480) -> Image.Image:
    """Smooth, and the same in no other orientation."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = 250 * x, 250 * y**2, 120 + 110 * np.sin(3 * x + 5 * y)
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def jpeg(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90, **options)
    return buffer.getvalue()


def cmyk() -> Image.Image:
    return ImageOps.invert(picture()).convert("CMYK")


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(picture(), exif=exif)


def difference(data: bytes, spec: InputSpec) -> float:
    """Mean over the pixels, in grey levels; not quite nothing, or else nothing was scaled."""
    scaled, whole = (decode_image(data, each, LIMITS) for each in (spec, full(spec)))
    assert scaled.shape == spec.shape
    assert not np.array_equal(scaled, whole)
    return float(np.abs(scaled.astype(int) - whole).mean())


KINDS = {
    "baseline": lambda: jpeg(picture()),
    "progressive": lambda: jpeg(picture(), progressive=True),
    "without subsampling": lambda: jpeg(picture(), subsampling=0),
    "grey": lambda: jpeg(picture().convert("L")),
    "CMYK": lambda: jpeg(cmyk()),
    "MPO": lambda: jpeg(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480), "red")]),
    "wide": lambda: jpeg(picture(1600, 200)),
    "odd": lambda: jpeg(picture(643, 481)),
}


@pytest.mark.parametrize("colour_mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_stays_nearly_what_it_is(kind: str, colour_mode: str) -> None:
    assert difference(KINDS[kind](), SPEC.model_copy(update={"colour_mode": colour_mode})) < 2


@pytest.mark.parametrize("resize", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_as_ever(orientation: int, resize: str) -> None:
    assert difference(with_orientation(orientation), SPEC.model_copy(update={"resize": resize})) < 2


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    side=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_the_scale_is_the_smallest_with_twice_the_longer_side_on_both_axes(
    width: int, height: int, side: tuple[int, int]
) -> None:
    """As found by trying them all."""
    spec = InputSpec(height=side[0], width=side[1], colour_mode="RGB", scaled_jpeg=True)
    data = jpeg(picture(width, height))
    divisor = max(each for each in (1, 2, 4, 8) if each == 1 or min(width, height) >= each * 2 * max(side))
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (width // divisor, height // divisor))
        expected = np.asarray(image)
    assert expected.shape == (math.ceil(height / divisor), math.ceil(width / divisor), 3)
    np.testing.assert_array_equal(decode_image(data, spec, LIMITS), fit_pixels(expected, spec, LIMITS))


@pytest.mark.parametrize("size", [(127, 640), (640, 127), (32, 24), (5, 3)])
def test_a_jpeg_that_is_not_far_larger_is_decoded_whole(size: tuple[int, int]) -> None:
    data = jpeg(picture(*size))
    np.testing.assert_array_equal(decode_image(data, SPEC, LIMITS), decode_image(data, full(SPEC), LIMITS))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    data = jpeg(picture(), kind)
    np.testing.assert_array_equal(decode_image(data, SPEC, LIMITS), decode_image(data, full(SPEC), LIMITS))


def test_the_limit_is_on_the_pixels_of_the_header() -> None:
    with pytest.raises(ImageTooLargeError, match=r"640 × 480 = 307,200 pixels; at most 307,199"):
        decode_image(jpeg(picture()), SPEC, DecodeLimits(max_pixels=307_199))


def test_a_truncated_jpeg_is_refused_as_ever() -> None:
    data = jpeg(picture())
    for end in (200, len(data) // 2):
        with pytest.raises(UndecodableImageError, match="truncated or corrupt"):
            decode_image(data[:end], SPEC, LIMITS)


def test_a_spec_that_says_nothing_of_it_decodes_whole_and_is_written_as_before() -> None:
    """Vectors, fingerprints and caches from before it was there depend on both."""
    before = '{"height":24,"width":32,"colour_mode":"RGB","resize":"cover","resample":"bicubic","background":[0,0,0]}'
    spec = InputSpec.model_validate_json(before)
    assert spec == full(SPEC)
    assert spec.model_dump_json() == before
    assert InputSpec.model_validate_json(SPEC.model_dump_json()) == SPEC != spec
    with Image.open(io.BytesIO(jpeg(picture()))) as image:
        expected: Pixels = np.asarray(image)
    np.testing.assert_array_equal(decode_image(jpeg(picture()), spec, LIMITS), fit_pixels(expected, spec, LIMITS))
