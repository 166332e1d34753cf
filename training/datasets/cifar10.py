"""CIFAR-10, in its binary or its Python version, as the authors' archive or unpacked.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine.images import InputSpec, Pixels
from training.datasets.download import download
from training.datasets.image_set import DataError, ImageSet, Source
from training.datasets.pickles import read_pickle
from training.datasets.places import Places

__all__ = ["CLASS_NAMES", "INPUT", "open_cifar10"]

INPUT = InputSpec(height=32, width=32, colour_mode="RGB")
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_VALUES = 3 * 32 * 32
_MOST_BYTES = 1 << 26  # twice what a batch of 10,000 images takes


@dataclass(frozen=True)
class _Batch:
    """Images of shape [N, 32, 32, 3] and their labels, of one file."""

    images: Pixels
    labels: NDArray[np.int64]


def open_cifar10(places: Places) -> Source:
    """Opens CIFAR-10 from where it is found, or downloads the binary version.

    Raises:
        DataError: It cannot be had, or is damaged.
    """
    folder = places.find_or_fetch(
        ("cifar10",),
        ", ".join(name for version in _VERSIONS for name in (version.folder, version.archive)),
        lambda folder: _find(folder) is not None,
        lambda target: download(_URL, target / _VERSIONS[0].archive, _CHECKSUM),
    )
    found = _find(folder)
    assert found is not None, "find_or_fetch gives a folder that holds it"  # noqa: S101 (cannot happen)
    version, path = found
    files = _from_folder(path, version) if path.is_dir() else _from_archive(path, version)
    batches = {name: version.read(content, f"{path}: {name}") for name, content in files}
    missing = [name for name in version.files if name not in batches]
    if missing:
        raise DataError(f"{path}: expected {', '.join(version.files)}, found no {missing[0]}; download it again.")
    *train, test = (batches[name] for name in version.files)
    return Source("cifar10", INPUT, _join(train), _join([test]), CLASS_NAMES)


def _find(folder: Path) -> "tuple[_Version, Path] | None":
    """The first version that a folder holds, and its archive or folder."""
    for version in _VERSIONS:
        if (folder / version.folder).is_dir():
            return version, folder / version.folder
        if (folder / version.archive).is_file():
            return version, folder / version.archive
    return None


def _from_folder(folder: Path, version: "_Version") -> Iterator[tuple[str, bytes]]:
    for name in version.files:
        if (folder / name).is_file():
            yield name, (folder / name).read_bytes()


def _from_archive(archive: Path, version: "_Version") -> Iterator[tuple[str, bytes]]:
    """Reads the archive once, from front to end; nothing is unpacked onto the disk."""
    wanted = {f"{version.folder}/{name}": name for name in version.files}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.isfile() and member.name in wanted and member.size <= _MOST_BYTES:
                    file = tar.extractfile(member)
                    yield wanted[member.name], file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive}: expected a complete tar.gz file, found {error}; download it again.") from error


def _read_binary(content: bytes, name: str) -> _Batch:
    """A label and 3,072 values for each image, and nothing else."""
    if not content or len(content) % (1 + _VALUES):
        raise DataError(
            f"{name}: expected records of {1 + _VALUES:,} bytes, found {len(content):,} bytes; download it again."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _VALUES)
    return _batch(records[:, 1:], records[:, 0], name)


def _read_python(content: bytes, name: str) -> _Batch:
    """A pickled dictionary with an array `data` of shape [N, 3072] and a list `labels`."""
    found = read_pickle(content, name)
    values, labels = found.get("data"), found.get("labels")
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] != _VALUES:
        shape = list(values.shape) if isinstance(values, np.ndarray) else "none"
        raise DataError(f"{name}: expected data of shape [N, {_VALUES}], found {shape}; download it again.")
    if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise DataError(f"{name}: expected labels as a list of small integers, found none; download it again.")
    return _batch(values, np.array(labels, np.uint8), name)


def _batch(values: Pixels, labels: Pixels, name: str) -> _Batch:
    """Values come as red, green and blue planes."""
    if len(values) != len(labels):
        raise DataError(f"{name}: expected one label for each of {len(values):,} images, found {len(labels):,}.")
    if labels.size and labels.max() >= len(CLASS_NAMES):
        raise DataError(f"{name}: expected labels of 0 to {len(CLASS_NAMES) - 1}, found {labels.max()}.")
    images = values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _Batch(np.ascontiguousarray(images), labels.astype(np.int64))


def _join(batches: list[_Batch]) -> ImageSet:
    images, labels = ([getattr(batch, part) for batch in batches] for part in ("images", "labels"))
    return ImageSet(np.concatenate(images), np.concatenate(labels))


@dataclass(frozen=True)
class _Version:
    """One of the forms in which the authors give the data set; the last file holds the test images."""

    folder: str
    archive: str
    files: tuple[str, ...]
    read: Callable[[bytes, str], _Batch]


_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_VERSIONS = (
    _Version(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        tuple(f"{name}.bin" for name in (*_TRAIN, "test_batch")),
        _read_binary,
    ),
    _Version("cifar-10-batches-py", "cifar-10-python.tar.gz", (*_TRAIN, "test_batch"), _read_python),
)
