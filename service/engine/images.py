"""Image bytes to the uint8 pixels a model takes, and pixels back to PNG.

The one place where images are decoded and resized: serving and training both call it, so the two cannot drift
apart. It knows Pillow and numpy; it does not know models, batches, files or HTTP.
"""

import io
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from service.engine.formats import FORMATS, IMAGE_SUFFIXES, count_tiff_parts, sniff_format
from service.engine.input_spec import InputSpec
from service.engine.plain_jpeg import read_plain_jpeg
from service.engine.plain_png import read_plain_png

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MOST_PIXELS",
    "DecodeLimits",
    "ImageError",
    "ImageTooLargeError",
    "InputSpec",
    "Pixels",
    "UndecodableImageError",
    "UnsupportedFormatError",
    "decode_image",
    "encode_png",
    "fit_pixels",
    "sniff_format",
]

Pixels = NDArray[np.uint8]

MOST_PIXELS = 178_956_970
"""Pillow opens no larger image, whatever the limits of the caller."""

_MAX_TIFF_PARTS = 100_000  # Pillow keeps an object for each, and a file of 32 MB can claim 32 million

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class ImageError(Exception):
    """An image that cannot become pixels; the message is one sentence for the person who sent it."""


class UnsupportedFormatError(ImageError):
    """The bytes are not of a format in `FORMATS`, or have a pixel type without a defined range."""


class ImageTooLargeError(ImageError):
    """The image has more pixels than `DecodeLimits.max_pixels`."""


class UndecodableImageError(ImageError):
    """The bytes start like a supported format but are empty, truncated or corrupt."""


@dataclass(frozen=True)
class DecodeLimits:
    """What one image may cost.

    Attributes:
        max_pixels: Width times height as written in the file's header; checked before any pixel is decoded. More
            than `MOST_PIXELS` changes nothing.
    """

    max_pixels: int = 50_000_000


def decode_image(data: bytes, spec: InputSpec, limits: DecodeLimits) -> Pixels:
    """Decodes one encoded image and fits it to a model's input.

    The first frame is taken, the EXIF orientation applied, transparency laid over `spec.background`, 16-bit grey
    scaled to 8 bits, every colour space converted (embedded ICC profiles are not applied). With `spec.scaled_jpeg` a
    JPEG is decoded no larger than need be.

    Args:
        data: The whole encoded image.
        spec: What the model takes.
        limits: What the image may cost.

    Returns:
        Pixels of shape `spec.shape`, 0 to 255, read-only.

    Raises:
        UnsupportedFormatError: Not one of `FORMATS`.
        ImageTooLargeError: More than `limits.max_pixels`.
        UndecodableImageError: Empty, truncated or corrupt.
    """
    name = sniff_format(data)
    if name is None:
        if not data:
            raise UndecodableImageError("The image is empty (0 bytes).")
        raise UnsupportedFormatError(
            f"Expected an image in one of the formats {', '.join(FORMATS)}; "
            f"found bytes starting with {data[:8].hex(' ')}."
        )
    if name == "TIFF" and count_tiff_parts(data) > _MAX_TIFF_PARTS:
        raise ImageTooLargeError(f"The TIFF image has more than {_MAX_TIFF_PARTS:,} strips; save it with longer ones.")
    try:
        if name == "PNG" and (plain := read_plain_png(data, limits.max_pixels)) is not None:
            return _fit(plain, spec)
        least_px = (
            2 * max(spec.height, spec.width) if spec.scaled_jpeg else None
        )  # of a square, as EXIF may turn it yet
        if name == "JPEG" and (plain := read_plain_jpeg(data, limits.max_pixels, least_px)) is not None:
            return _fit(plain, spec)
        stream = io.BytesIO(data)  # for Pillow to tell a small PNG apart once more would take a fifth of the time
        with PngImageFile(stream) if name == "PNG" else Image.open(stream, formats=(name,)) as image:
            _check_size(image.width, image.height, limits)
            if name == "JPEG" and least_px is not None:
                image.draft(None, (least_px, least_px))
            image.load()
            return _fit(image, spec)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # raised before its size can be asked for
        raise ImageTooLargeError(
            f"The {name} image has more than {MOST_PIXELS:,} pixels; at most {limits.max_pixels:,} are accepted."
        ) from error
    except (UnidentifiedImageError, SyntaxError) as error:
        raise UndecodableImageError(f"The {name} image is truncated or corrupt: its header cannot be read.") from error
    except Exception as error:  # Pillow's parsers raise whatever a corrupt file makes of them, from OSError to KeyError
        raise UndecodableImageError(
            f"The {name} image is truncated or corrupt and cannot be decoded: {error}"
        ) from error


def fit_pixels(pixels: Pixels, spec: InputSpec, limits: DecodeLimits) -> Pixels:
    """Fits pixels that are already decoded to a model's input, by the same rule as `decode_image`.

    Args:
        pixels: uint8 of shape [height, width], [height, width, 1], [height, width, 3] or [height, width, 4] (RGBA).
        spec: What the model takes.
        limits: What the image may cost.

    Returns:
        Pixels of shape `spec.shape`; a copy.

    Raises:
        UnsupportedFormatError: Another dtype or shape.
        ImageTooLargeError: More than `limits.max_pixels`.
    """
    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    has_image_shape = grey.ndim == 2 or (grey.ndim == 3 and grey.shape[-1] in {3, 4})
    if pixels.dtype != np.uint8 or pixels.size == 0 or not has_image_shape:
        raise UnsupportedFormatError(
            f"Expected uint8 pixels of shape [height, width] or [height, width, 1, 3 or 4]; "
            f"found {pixels.dtype} of shape {list(pixels.shape)}."
        )
    _check_size(grey.shape[1], grey.shape[0], limits)
    if pixels.shape == spec.shape:  # what every rule below would leave as it is
        return pixels.copy()
    return _fit(Image.fromarray(grey), spec)


def encode_png(pixels: Pixels) -> bytes:
    """Encodes pixels of shape [height, width, 1 or 3] as a PNG, lightly compressed because latency matters more."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"The image has {width} × {height} = {width * height:,} pixels; at most {limits.max_pixels:,} are accepted."
        )


def _normalise(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Upright, opaque, L or RGB with 8 bits a channel; copied no more than needed, for that is what memory goes to."""
    if image.info or image.format == "TIFF":  # else there is nothing an orientation could stand in
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _SIXTEEN_BIT_MODES:
        return _to_eight_bits(image)
    if image.mode == "F":
        raise UnsupportedFormatError(
            "Expected 8- or 16-bit pixels; found floating-point ones, which have no fixed range."
        )
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        opaque, image = Image.new("RGB", image.size, background), _convert(image, "RGBA")
        opaque.paste(image, mask=image)
        return opaque
    return _convert(image, "L" if image.mode in {"1", "L"} else "RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """0..65535 to 0..255 by 1/257, rounded; Pillow's own conversion would clip at 255."""
    image = _convert(image, "I")
    low, high = cast("tuple[int, int]", image.getextrema())
    if low < 0 or high > 65535:
        raise UnsupportedFormatError(
            f"Expected grey values of 0 to 65535; found {low} to {high}. Save the image with 8 or 16 bits."
        )
    return image.point([(value + 128) // 257 for value in range(65536)], "L")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # which would copy it


def _fit(image: Image.Image, spec: InputSpec) -> Pixels:
    image = _convert(_normalise(image, spec.background), spec.colour_mode)
    size, resample = (spec.width, spec.height), _FILTERS[spec.resample]
    if image.size == size:
        fitted = image
    elif spec.resize == "cover":
        fitted = ImageOps.fit(image, size, resample)
    elif spec.resize == "contain":
        backdrop = Image.new("RGB", (1, 1), spec.background).convert(spec.colour_mode)
        fitted = ImageOps.pad(image, size, resample, color=backdrop.getpixel((0, 0)))  # type: ignore[arg-type]
    else:
        fitted = image.resize(size, resample)
    return np.frombuffer(fitted.tobytes(), np.uint8).reshape(spec.shape)  # read-only; `np.array` takes twice as long
