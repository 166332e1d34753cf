"""Arrays of images in an `.npz` file as a source, with more images than memory if need be.

Images are copied once, piece by piece, from the archive into the cache, where they are memory-mapped. An `.npz` file
that has no test images is split by a hash of the row, because its rows may be sorted by class.
"""

import contextlib
import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.engine.images import InputSpec, Pixels
from training.datasets.image_set import DataError, ImageSet, Source
from training.datasets.places import written_to_cache
from training.datasets.split import count_held_out, rank

__all__ = ["open_npz"]

_VERSION = 1
_CHUNK_BYTES = 1 << 24
_MOST_CLASSES = 1 << 16

_SPLIT = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))
_WHOLE = (("images", "labels"), ("x", "y"))


def open_npz(path: Path, cache_dir: Path) -> Source:
    """Opens the arrays of an `.npz` file; nothing in it is unpickled.

    Images are uint8 of shape [N, H, W], [N, H, W, 1] or [N, H, W, 3]; labels, which may be left out, are class indices
    of shape [N] or [N, 1]. Their names are `x_train`, `y_train`, `x_test`, `y_test` (as Keras has them) or
    `train_images`, … (as MedMNIST has them); or `images`, `labels` or `x`, `y`, of which about a tenth is held out.

    Args:
        path: The file.
        cache_dir: Where the images are kept so that they can be mapped into memory.

    Raises:
        DataError: Damaged, none of these names, or arrays of another kind; or the cache cannot be written.
    """
    with _opened(path) as archive:
        reader = _Reader(path, archive, cache_dir)
        for train_images, train_labels, test_images, test_labels in _SPLIT:
            if {train_images, test_images} <= reader.names:
                parts = (reader.images(train_images), reader.images(test_images))
                return _source(
                    path,
                    ImageSet(parts[0], reader.labels(train_labels, len(parts[0]))),
                    ImageSet(parts[1], reader.labels(test_labels, len(parts[1]))),
                )
        for images, labels in _WHOLE:
            if images in reader.names:
                return _source(path, *_divided(reader, images, labels))
    raise DataError(
        f"{path}: expected arrays named x_train and x_test, train_images and test_images, images, or x, "
        f"found {', '.join(sorted(reader.names)) or 'none'}."
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected a complete .npz file of plain arrays, found {error}") from error


@dataclass(frozen=True)
class _Reader:
    """The arrays of one archive."""

    path: Path
    archive: zipfile.ZipFile
    cache_dir: Path

    @property
    def names(self) -> set[str]:
        """Of the arrays."""
        return {name.removesuffix(".npy") for name in self.archive.namelist() if name.endswith(".npy")}

    def count(self, name: str) -> int:
        """How many rows the array of that name has."""
        with self.archive.open(f"{name}.npy") as stream:
            return self._image_shape(name, stream)[0]

    def images(self, name: str, positions: Sequence[int] | None = None) -> Pixels:
        """Memory-mapped images [N, H, W, C]; `positions` says for each row of the archive which one it becomes."""
        with self.archive.open(f"{name}.npy") as stream:
            shape = self._image_shape(name, stream)
            file = self.cache_dir / self._key(name, shuffled=positions is not None)
            if not file.is_file():
                _copy(stream, file, shape, positions or range(shape[0]))
        return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]

    def labels(self, name: str, count: int) -> NDArray[np.int64] | None:
        """Class indices of shape [count], or None if there is no array of that name."""
        if name not in self.names:
            return None
        with self.archive.open(f"{name}.npy") as stream:
            found = npy.read_array(stream, allow_pickle=False)
        if found.dtype.kind not in "iu" or found.shape not in {(count,), (count, 1)}:
            raise DataError(
                f"{self.path}: expected {name} as {count:,} class indices, found {found.dtype} {list(found.shape)}."
            )
        if found.size and not 0 <= int(found.min()) <= int(found.max()) < _MOST_CLASSES:
            raise DataError(
                f"{self.path}: expected {name} counted from 0 and below {_MOST_CLASSES:,}, "
                f"found {found.min()} to {found.max()}."
            )
        return found.reshape(count).astype(np.int64)

    def _image_shape(self, name: str, stream: IO[bytes]) -> tuple[int, int, int, int]:
        """N, height, width and channels, with the stream left where the values begin."""
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read_header(stream)
        full = (*shape, 1) if len(shape) == 3 else shape
        if dtype != np.uint8 or by_column or len(full) != 4 or full[3] not in {1, 3} or 0 in full:
            raise DataError(
                f"{self.path}: expected {name} as uint8 of shape [N, H, W], [N, H, W, 1] or [N, H, W, 3] in C order, "
                f"found {dtype} {list(shape)}{' in Fortran order' if by_column else ''}."
            )
        return full[0], full[1], full[2], full[3]

    def _key(self, name: str, *, shuffled: bool) -> str:
        status = self.path.stat()
        text = f"{_VERSION}\n{self.path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{name}\n{shuffled}"
        return f"npz-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"


def _copy(stream: IO[bytes], file: Path, shape: tuple[int, ...], positions: Sequence[int]) -> None:
    """Writes each row of the stream to its position of a new `.npy` file."""
    row_bytes = math.prod(shape[1:])
    step = max(1, _CHUNK_BYTES // row_bytes)
    with written_to_cache(file) as target:
        npy.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = target.tell()
        for first in range(0, shape[0], step):
            places = positions[first : first + step]
            content = _take(stream, row_bytes * len(places))
            for row, place in enumerate(places):
                target.seek(start + place * row_bytes)
                target.write(content[row * row_bytes : (row + 1) * row_bytes])
        if stream.read(1):  # to the end, where the archive's checksum is compared
            raise ValueError(f"more values than the shape {list(shape)} has")


def _take(stream: IO[bytes], count: int) -> memoryview:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError(f"an array that ends {count - len(content):,} bytes early")
    return memoryview(content)


def _divided(reader: _Reader, images: str, labels: str) -> tuple[ImageSet, ImageSet]:
    """Training and test images: the rows in the order of their ranks, cut in two."""
    ranks = np.array([rank(str(row)) for row in range(reader.count(images))])
    if len(ranks) < 2:
        raise DataError(f"{reader.path}: expected at least two images, found {len(ranks)}.")
    order = ranks.argsort(kind="stable")
    positions = order.argsort(kind="stable").tolist()
    known = reader.labels(labels, len(ranks))
    whole = ImageSet(reader.images(images, positions), None if known is None else known[order])
    split = count_held_out(ranks)
    return whole.part(slice(split, None)), whole.part(slice(split))


def _source(path: Path, train: ImageSet, test: ImageSet) -> Source:
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{path}: expected training and test images of one shape, "
            f"found {list(train.images.shape[1:])} and {list(test.images.shape[1:])}."
        )
    if (train.labels is None) != (test.labels is None):
        raise DataError(f"{path}: expected labels of both training and test images, or of neither, found one of them.")
    height, width, channels = train.images.shape[1:]
    spec = InputSpec(height=height, width=width, colour_mode="L" if channels == 1 else "RGB")
    names = None
    if train.labels is not None and test.labels is not None:
        names = tuple(str(label) for label in range(int(max(train.labels.max(), test.labels.max())) + 1))
    return Source(str(path), spec, train, test, names)
