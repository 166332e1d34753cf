"""CelebA: aligned faces, labelled by the colour of their hair, with every attribute as a factor.

Source: Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015, arXiv 1411.7766. For
non-commercial research only, and behind pages that no program can read, so it is never downloaded.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine.images import InputSpec
from training.datasets.cache import CentreCrop, Decoded, PixelCache, SourceFile
from training.datasets.image_set import DataError, ImageSet, Source
from training.datasets.places import Places

__all__ = ["CLASS_NAMES", "INPUT", "open_celeba"]

INPUT = InputSpec(height=64, width=64, colour_mode="RGB")
CLASS_NAMES = ("black", "blond", "brown", "gray", "other")
"""Of hair; `other` is none of the four, or more than one of them."""

_CROP = CentreCrop(image_height=218, image_width=178, side=148)
_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_PARTITION = "list_eval_partition.txt"
_HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_TRAIN, _TEST = "0", "2"
_HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


@dataclass(frozen=True)
class _Attributes:
    """What the list of attributes says: names [A], and for each file its row of 0 and 1 in an array [N, A]."""

    names: tuple[str, ...]
    rows: dict[str, int]
    values: NDArray[np.int8]


@dataclass(frozen=True)
class _Images:
    """Sizes and dates of the image files by name, and how to read one of them by its path."""

    root: Path
    files: dict[str, SourceFile]
    read: Callable[[str], bytes] | None


def open_celeba(places: Places) -> Source:
    """Opens CelebA's training and test splits as 64 × 64 colour images of the inner 148 × 148 pixels.

    The images are decoded once into a memory-mapped cache. The validation split is left out, so that training and
    test images are those of the literature.

    Raises:
        DataError: A file is missing, damaged, or does not belong to the others; the message says where to get them.
    """
    folder = _find_folder(places)
    attributes = _read_attributes(folder / _ATTRIBUTES)
    partition = _read_partition(folder / _PARTITION)
    names = [name for wanted in (_TRAIN, _TEST) for name, part in sorted(partition.items()) if part == wanted]
    unknown = next((name for name in names if name not in attributes.rows), None)
    if unknown is not None:
        raise DataError(f"{folder / _ATTRIBUTES}: expected a row for every image of {_PARTITION}, found no {unknown}.")
    decoded = _decode(folder, names, places.cache_dir)
    readable = [path.rsplit("/", 1)[-1] for path in decoded.paths]
    split = sum(partition[name] == _TRAIN for name in readable)
    if split in {0, len(readable)}:
        raise DataError(
            f"{folder}: expected readable images of partitions 0 (train) and 2 (test), found {split:,} and "
            f"{len(readable) - split:,}" + (f"; {decoded.skipped[0].reason}" if decoded.skipped else ".")
        )
    values = attributes.values[[attributes.rows[name] for name in readable]]
    factors = dict(zip(attributes.names, np.ascontiguousarray(values.T), strict=True))
    whole = ImageSet(decoded.images, _hair(factors), factors)
    parts = whole.part(slice(split)), whole.part(slice(split, None))
    return Source("celeba", INPUT, *parts, CLASS_NAMES, tuple(decoded.skipped))


def _find_folder(places: Places) -> Path:
    folder = places.find(("celeba",), _holds_files)
    if folder is None:
        raise DataError(
            f"celeba: expected {_IMAGES}.zip (or the folder {_IMAGES}), {_ATTRIBUTES} and {_PARTITION} together in one "
            f"of {', '.join(map(str, places.look_in))} or a subfolder celeba, found them nowhere; they cannot be "
            f"downloaded by a program: get them from {_HOME} (Align&Cropped Images) and put them into "
            f"{places.own / 'celeba'}, or name their folder with --data-dir."
        )
    return folder


def _decode(folder: Path, names: Sequence[str], cache_dir: Path) -> Decoded:
    with ExitStack() as stack:
        images = _find_images(folder, stack)
        missing = [name for name in names if name not in images.files]
        if missing:
            raise DataError(
                f"{images.root}: expected the {len(names):,} training and test images that {_PARTITION} lists, "
                f"found {len(names) - len(missing):,}; the first that is missing is {missing[0]}."
            )
        files = [images.files[name] for name in names]
        return PixelCache(cache_dir, images.root, files, INPUT, crop=_CROP, read=images.read).load()


def _holds_files(folder: Path) -> bool:
    has_images = (folder / _IMAGES).is_dir() or (folder / f"{_IMAGES}.zip").is_file()
    return has_images and (folder / _ATTRIBUTES).is_file() and (folder / _PARTITION).is_file()


def _read_attributes(path: Path) -> _Attributes:
    """The number of images, the names of the attributes, then for each image its name and -1 or 1 per attribute."""
    lines = _read_lines(path)
    count, header = lines[:2] if len(lines) >= 2 else ("", "")
    del lines[:2]
    names = tuple(header.split())
    if any(hair not in names for hair in _HAIR):
        raise DataError(f"{path}: expected {', '.join(_HAIR)} among the attributes of line 2, found {header[:60]!r}.")
    if count.strip() != str(len(lines)):
        raise DataError(f"{path}: expected as many rows as line 1 says ({count.strip()[:20]}), found {len(lines)}.")
    values = np.empty((len(lines), len(names)), np.int8)
    rows: dict[str, int] = {}
    for row, line in enumerate(lines):
        name, *signs = line.split()
        if len(signs) != len(names) or not set(signs) <= {"1", "-1"}:
            raise DataError(f"{path}: expected a name and {len(names)} times -1 or 1, found {line[:60]!r}.")
        rows[name] = row
        values[row] = [sign == "1" for sign in signs]
    return _Attributes(names, rows, values)


def _read_partition(path: Path) -> dict[str, str]:
    """The partition (0 train, 1 validation, 2 test) of every image by its name."""
    partition = {}
    for line in _read_lines(path):
        name, _, part = line.strip().partition(" ")
        if part not in {"0", "1", "2"}:
            raise DataError(f"{path}: expected a name and 0, 1 or 2 in every line, found {line[:60]!r}.")
        partition[name] = part
    return partition


def _read_lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable list of CelebA, found {error}; download it again.") from error


def _find_images(folder: Path, stack: ExitStack) -> _Images:
    """The folder of images if there is one, else the archive, which stays open as long as the stack."""
    if (folder / _IMAGES).is_dir():
        with os.scandir(folder / _IMAGES) as entries:
            status = {entry.name: entry.stat() for entry in entries if entry.is_file()}
        found = {name: SourceFile(f"{_IMAGES}/{name}", one.st_size, one.st_mtime_ns) for name, one in status.items()}
        return _Images(folder, found, None)
    path = folder / f"{_IMAGES}.zip"
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected a complete zip file, found {error}; download it again.") from error
    changed = path.stat().st_mtime_ns
    members = [member for member in archive.infolist() if not member.is_dir()]
    found = {
        member.filename.rsplit("/", 1)[-1]: SourceFile(member.filename, member.file_size, changed) for member in members
    }
    return _Images(path, found, lambda name: _read_member(archive, name))


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(str(error)) from error


def _hair(attributes: dict[str, NDArray[np.int8]]) -> NDArray[np.int64]:
    """The index of the one colour an image has, or that of `other`."""
    colours = np.stack([attributes[name] for name in _HAIR])
    return np.where(colours.sum(axis=0) == 1, colours.argmax(axis=0), len(_HAIR)).astype(np.int64)
