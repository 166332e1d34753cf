"""What can be sent as an image: a path, an encoded file's bytes, pixels, or one of Pillow's images."""

import io
import os
from collections.abc import Sequence
from typing import IO, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simvae_client.png import write_png

__all__ = ["Image", "Images", "Picture", "Pixels", "as_sequence", "encoded", "name_of", "size_bytes"]

Pixels: TypeAlias = NDArray[np.uint8]
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@runtime_checkable
class Picture(Protocol):
    """As much of `PIL.Image.Image` as is used here, so that Pillow need not be installed."""

    @property
    def mode(self) -> str:
        """Of its pixels, such as RGB."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""

    def getexif(self) -> Any:
        """Which way up it is, among other things."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:  # noqa: A002
        """Encodes it."""


Image: TypeAlias = str | os.PathLike[str] | bytes | Pixels | Picture
"""A path; the bytes of a JPEG, PNG, WebP, …; uint8 pixels of shape [H, W] or [H, W, C]; or one of Pillow's images."""

Images: TypeAlias = Image | Sequence[Image]
"""Some images, or a lone one. An array is a batch, [N, H, W] or [N, H, W, C], of the model's own height and width; a
list of arrays may have any sizes, which the service brings to the model's."""


def as_sequence(images: Images) -> Sequence[Image] | Pixels:
    """A lone image as a list of one.

    Raises:
        ValueError: An array that is no batch of uint8.
        TypeError: Something that is no image.
    """
    match images:
        case np.ndarray():
            if images.dtype != np.uint8 or images.ndim not in {3, 4}:
                raise ValueError(
                    f"Expected a batch of uint8 pixels, [N, H, W] or [N, H, W, C], found {images.dtype} of shape "
                    f"{list(images.shape)}; for a lone image pass [pixels]."
                )
            return images
        case str() | bytes() | os.PathLike() | Picture():
            return [images]
        case Sequence():
            return cast("Sequence[Image]", images)  # mypy takes bytes, excluded above, for possible still
    raise TypeError(f"Expected an image or a list of them, found {type(images).__name__}.")


def size_bytes(image: Image) -> int:
    """About as many bytes as it will take in a request; a file that is not there counts nothing.

    Raises:
        ValueError: Pixels of another dtype or shape than can be sent.
        TypeError: Something that is no image.
    """
    match image:
        case bytes():
            return len(image)
        case np.ndarray():
            _check_pixels(image)
            return image.nbytes
        case str() | os.PathLike():
            try:
                return os.stat(image).st_size  # noqa: PTH116 - a Path for each file takes as long as sending it
            except OSError:
                return 0
        case Picture():
            return 3 * image.size[0] * image.size[1]
    raise TypeError(f"Expected a path, bytes, uint8 pixels or a Pillow image, found {type(image).__name__}.")


def encoded(image: Image) -> bytes:
    """The bytes of an encoded image.

    Raises:
        OSError: The file cannot be read.
    """
    match image:
        case bytes():
            return image
        case np.ndarray():
            return write_png(image)
        case str() | os.PathLike():
            with open(image, "rb") as file:  # noqa: PTH123 - likewise
                return file.read()
        case _:
            return _saved(image)


def name_of(image: Image) -> str | None:
    """The path, where it has one."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def _check_pixels(pixels: Pixels) -> None:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or not 1 <= channels <= 4 or not pixels.size:
        raise ValueError(
            f"Expected uint8 pixels of shape [H, W] or [H, W, C] with 1 to 4 channels, found {pixels.dtype} of shape "
            f"{list(pixels.shape)}."
        )


def _saved(picture: Picture) -> bytes:
    """Without loss; with its EXIF, so that it is turned as the file that it came from would be."""
    stream = io.BytesIO()
    if picture.mode in _PNG_MODES:
        picture.save(stream, "PNG", exif=picture.getexif(), compress_level=1)
    else:
        picture.save(stream, "TIFF", exif=picture.getexif())
    return stream.getvalue()
