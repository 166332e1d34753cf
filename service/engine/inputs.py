"""What may be given as an image, and how each kind becomes the pixels a model takes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine.images import (
    DecodeLimits,
    ImageTooLargeError,
    InputSpec,
    Pixels,
    UndecodableImageError,
    decode_image,
    fit_pixels,
)

__all__ = ["SMALL_BYTES", "ImageInput", "is_small", "read_image", "size_bytes"]

ImageInput = bytes | Path | NDArray[np.uint8]
"""An encoded image, a file that holds one, or pixels of shape [height, width] or [height, width, 1, 3 or 4]."""

SMALL_BYTES, _SMALL_PIXELS = 4096, 256 * 256
_PNG = b"\x89PNG\r\n\x1a\n"


def size_bytes(image: ImageInput) -> int:
    """What an image keeps in memory while it waits; a file nothing, as it is read when its turn comes.

    Raises:
        ValueError: It is none of the three.
    """
    match image:
        case bytes():
            return len(image)
        case np.ndarray():
            return image.nbytes
        case Path():
            return 0
    raise ValueError(f"Expected bytes, a Path or a uint8 array as an image, found {type(image).__name__}.")


def is_small(image: ImageInput) -> bool:
    """Whether it is plain, before it is decoded, that decoding takes well under a millisecond.

    So it is for pixels, and for a PNG of at most 4 KiB, if there are at most 256 × 256 of them. A small file alone says
    nothing: a few hundred bytes can be fifty million pixels, and only PNG has their number in a fixed place.
    """
    if isinstance(image, np.ndarray):
        return image.size <= _SMALL_PIXELS
    if not isinstance(image, bytes) or len(image) > SMALL_BYTES or image[:8] != _PNG or image[12:16] != b"IHDR":
        return False
    width, height = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")
    return width * height <= _SMALL_PIXELS


def read_image(image: ImageInput, spec: InputSpec, limits: DecodeLimits, max_bytes: int) -> Pixels:
    """Reads, decodes and fits an image.

    Args:
        image: Of any kind.
        spec: What the model takes.
        limits: What one image may cost.
        max_bytes: The largest file that is read.

    Returns:
        Pixels of shape `spec.shape`.

    Raises:
        ImageError: The image, or its file, is bad.
    """
    if is_small(image):  # a second header inside the file must not make it large after all
        limits = DecodeLimits(min(limits.max_pixels, _SMALL_PIXELS))
    if isinstance(image, np.ndarray):
        return fit_pixels(image, spec, limits)
    data = _read_file(image, max_bytes) if isinstance(image, Path) else image
    return decode_image(data, spec, limits)


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ImageTooLargeError(f"{path}: the file has {size:,} bytes; at most {max_bytes:,} are accepted.")
        return path.read_bytes()
    except OSError as error:
        raise UndecodableImageError(f"{path}: the file cannot be read: {error.strerror or error}.") from error
