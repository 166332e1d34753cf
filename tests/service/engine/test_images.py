"""Any image becomes the pixels a model takes, by one rule, or one clear error; no bytes do anything else."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.engine.images import (
    MOST_PIXELS,
    DecodeLimits,
    ImageTooLargeError,
    InputSpec,
    Pixels,
    UnsupportedFormatError,
    decode_image,
    encode_png,
    fit_pixels,
)

GREY = InputSpec(height=12, width=16, colour_mode="L")
COLOUR = InputSpec(height=12, width=16, colour_mode="RGB", background=(10, 200, 30))
LIMITS = DecodeLimits(max_pixels=100_000)
LOSSLESS = {"PNG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}
"""What brings the stored rows and columns upright, from the EXIF standard's description of each value."""


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sample(kind: str) -> bytes:
    smooth = np.add.outer(np.arange(12), np.arange(16)).astype(np.uint8) * 9
    return encode(Image.fromarray(np.stack([smooth, smooth[::-1], smooth], axis=-1)), kind)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_very_pixels(kind: str) -> None:
    pixels = noise(12, 16)
    data = encode(Image.fromarray(pixels), kind, **LOSSLESS[kind])
    np.testing.assert_array_equal(decode_image(data, GREY, LIMITS)[..., 0], pixels)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_give_nearly_the_pixels(kind: str) -> None:
    decoded = decode_image(sample(kind), COLOUR, LIMITS).astype(int)
    assert np.abs(decoded - decode_image(sample("PNG"), COLOUR, LIMITS)).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = np.zeros((12, 16), np.uint8)
    upright[:6, :8], upright[:6, 8:], upright[6:, :8] = 250, 160, 80
    stored = UPRIGHT[{6: 8, 8: 6}.get(orientation, orientation)](upright)  # quarter turns undo each other
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    decoded = decode_image(data, GREY, LIMITS)[..., 0].astype(int)
    assert np.abs(decoded - upright).max() <= (8 if kind == "JPEG" else 0)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    pixels = noise(12, 16)
    data = encode(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(decode_image(data, GREY, LIMITS)[..., 0], pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(mode: str) -> None:
    image = Image.new("RGBA", (16, 12), (255, 255, 255, 255))
    image.paste((90, 90, 90, 0), (0, 0, 8, 12))
    if mode == "P":
        palette = Image.new("P", (16, 12), 1)
        palette.putpalette([90, 90, 90, 255, 255, 255])
        palette.paste(0, (0, 0, 8, 12))
        data = encode(palette, "PNG", transparency=0)
    else:
        data = encode(image.convert(mode), "PNG")
    decoded = decode_image(data, COLOUR, LIMITS)
    np.testing.assert_array_equal(decoded[:, :8], np.broadcast_to(COLOUR.background, (12, 8, 3)))
    np.testing.assert_array_equal(decoded[:, 8:], 255)


def test_half_transparent_pixels_are_mixed_with_the_background() -> None:
    data = encode(Image.new("RGBA", (16, 12), (210, 0, 30, 128)))
    expected = np.array(COLOUR.background) * (127 / 255) + np.array([210, 0, 30]) * (128 / 255)
    assert np.abs(decode_image(data, COLOUR, LIMITS) - expected).max() <= 1


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 12 * 16).round().astype(np.uint16).reshape(12, 16)
    for kind in ("PNG", "TIFF"):
        decoded = decode_image(encode(Image.fromarray(values), kind), GREY, LIMITS)[..., 0]
        np.testing.assert_array_equal(decoded, np.round(values / 257))


@pytest.mark.parametrize(
    "image", [Image.new("F", (16, 12), 0.5), Image.new("I", (16, 12), 70_000), Image.new("I", (16, 12), -1)]
)
def test_pixels_without_a_defined_range_are_refused(image: Image.Image) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"Expected .* found"):
        decode_image(encode(image, "TIFF"), GREY, LIMITS)


def test_cmyk_and_one_bit_images_become_colour_and_grey() -> None:
    red = decode_image(encode(Image.new("CMYK", (16, 12), (0, 255, 255, 0)), "JPEG", quality=95), COLOUR, LIMITS)
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 8
    bits = noise(12, 16) > 127
    decoded = decode_image(encode(Image.fromarray(bits), "PNG"), GREY, LIMITS)
    np.testing.assert_array_equal(decoded[..., 0], bits * 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("L", (16, 12), value) for value in (40, 140, 240)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS[kind])
    assert np.abs(decode_image(data, GREY, LIMITS).astype(int) - 40).max() <= 1


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(("width", "height"), [(401, 250), (30_000, 30_000), (2**31 - 1, 1)])
def test_too_many_pixels_are_refused_by_the_header_alone(width: int, height: int) -> None:
    data = png_header(width, height) + struct.pack(">I", 9) + b"IDAT"
    with pytest.raises(ImageTooLargeError):
        decode_image(data, GREY, LIMITS)


@pytest.mark.parametrize(("order", "magic"), [("<", b"II*\0"), (">", b"MM\0*")])
def test_a_tiff_of_countless_strips_is_refused_before_pillow_makes_an_object_of_each(order: str, magic: bytes) -> None:
    tags = {256: 28, 257: 28, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    entries = [struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.append(struct.pack(order + "HHII", 273, 1, 2_000_000, 200))
    data = magic + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + bytes(2_000_200)
    with pytest.raises(ImageTooLargeError, match="more than 100,000 strips"):
        decode_image(data, GREY, LIMITS)


def test_a_tiff_of_one_strip_for_each_row_is_accepted() -> None:
    data = encode(Image.new("L", (2, 3000)), "TIFF", tiffinfo={278: 1})
    assert decode_image(data, GREY, LIMITS).shape == GREY.shape


def test_an_image_that_pillow_refuses_is_refused_in_our_words() -> None:
    with pytest.raises(ImageTooLargeError, match="at most 100,000 are accepted") as caught:
        decode_image(png_header(30_000, 30_000) + struct.pack(">I", 9) + b"IDAT", GREY, LIMITS)
    assert "bomb" not in str(caught.value)


def test_the_largest_image_that_pillow_opens_is_the_one_we_name() -> None:
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == MOST_PIXELS


MEASURE = """
import resource, sys
from service.engine.images import DecodeLimits, InputSpec, decode_image

def most_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = most_kib()
for name in sys.argv[1:]:
    decode_image(open(name, "rb").read(), InputSpec(height=28, width=28, colour_mode="RGB"), DecodeLimits())
print(most_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_decoding_takes_no_more_memory_than_the_operations_page_says(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "RGBA", "LA", "I;16"):
        (tmp_path / mode).write_bytes(encode(Image.new(mode, (4000, 3000)), compress_level=1))
    files = sorted(map(str, tmp_path.iterdir()))
    output = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, check=True, timeout=60).stdout
    assert int(output) * 1024 / (4000 * 3000) < 13 + 1  # and one for everything that is not the image


def test_as_many_pixels_as_the_limit_are_accepted() -> None:
    limits = DecodeLimits(max_pixels=30 * 20)
    assert decode_image(encode(Image.new("L", (30, 20))), GREY, limits).shape == (12, 16, 1)
    with pytest.raises(ImageTooLargeError, match="31 × 20 = 620"):
        decode_image(encode(Image.new("L", (31, 20))), GREY, limits)


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 3), (12, 16, 4), (40, 7), (9, 50, 3), (5, 5, 4)])
@pytest.mark.parametrize("spec", [GREY, COLOUR])
@pytest.mark.parametrize("resize", ["cover", "contain", "stretch"])
def test_pixels_and_their_png_are_fitted_alike(shape: tuple[int, ...], spec: InputSpec, resize: str) -> None:
    pixels = noise(*shape)
    rule = spec.model_copy(update={"resize": resize})
    fitted = fit_pixels(pixels, rule, LIMITS)
    assert fitted.shape == rule.shape
    assert fitted.dtype == np.uint8
    assert not np.shares_memory(fitted, pixels)
    np.testing.assert_array_equal(fitted, decode_image(encode_png(pixels), rule, LIMITS))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_image_are_refused(pixels: Pixels) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"Expected uint8 pixels .* found"):
        fit_pixels(pixels, GREY, LIMITS)
    with pytest.raises(ImageTooLargeError):
        fit_pixels(np.zeros((400, 400), np.uint8), GREY, LIMITS)


def test_cover_crops_the_centre_contain_pads_and_stretch_does_neither() -> None:
    wide = np.zeros((12, 48, 3), np.uint8)
    wide[:, 16:32] = 255
    outside = [*COLOUR.background]

    def fit(resize: str) -> Pixels:
        return fit_pixels(wide, COLOUR.model_copy(update={"resize": resize, "resample": "nearest"}), LIMITS)

    np.testing.assert_array_equal(fit("cover"), 255)
    contained = fit("contain")
    assert contained[0, 0].tolist() == contained[-1, -1].tolist() == outside
    assert contained[6, 8].tolist() == [255] * 3
    assert contained[6, 0].tolist() == [0] * 3
    assert fit("stretch")[:, [0, 8, 15], 0].tolist() == [[0, 255, 0]] * 12


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1)])
@pytest.mark.parametrize("resize", ["cover", "contain", "stretch"])
def test_a_line_of_pixels_is_an_image_too(shape: tuple[int, int], resize: str) -> None:
    rule = COLOUR.model_copy(update={"resize": resize})
    assert fit_pixels(noise(*shape), rule, LIMITS).shape == rule.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_ours_is_read_back_unchanged(channels: int) -> None:
    pixels = noise(12, 16, channels)
    spec = GREY if channels == 1 else COLOUR
    np.testing.assert_array_equal(decode_image(encode_png(pixels), spec, LIMITS), pixels)
