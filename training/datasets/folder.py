"""Any folder of images as a source: found, decoded once into a cache, split, and labelled if its folders are classes.

Files are put in the order of a hash of their relative path, so both splits are slices of one memory-mapped array.
"""

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from service.engine.images import IMAGE_SUFFIXES, InputSpec
from training.datasets.cache import PixelCache, SourceFile
from training.datasets.image_set import DataError, ImageSet, Skipped, Source
from training.datasets.split import count_held_out, rank

__all__ = ["find_images", "open_folder"]

_log = logging.getLogger(__name__)


def open_folder(root: Path, spec: InputSpec, cache_dir: Path) -> Source:
    """Decodes every image below a folder, or takes them from the cache, and splits them.

    About a tenth of the images, at least one, is the test split. When every image lies below one of at least two
    first-level subfolders, those are the classes; otherwise the source is unlabelled.

    Args:
        root: The folder; hidden files and folders in it are ignored, links are followed.
        spec: What every image is brought to.
        cache_dir: Where decoded pixels are kept, one subfolder per set of files and resize rule.

    Raises:
        DataError: No images, or only one that can be read; or the cache cannot be written.
    """
    found = find_images(root)
    if not found.files:
        raise DataError(
            f"{root}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}), found none"
            + (f" that can be read; {found.skipped[0].path}: {found.skipped[0].reason}" if found.skipped else ".")
        )
    files = sorted(found.files, key=lambda file: rank(file.path))
    decoded = PixelCache(cache_dir, root, files, spec).load()
    skipped = (*found.skipped, *decoded.skipped)
    if len(decoded.paths) < 2:
        first = f"; {skipped[0].path}: {skipped[0].reason}" if skipped else "."
        raise DataError(f"{root}: expected at least two readable images, found {len(decoded.paths)}{first}")
    class_names = _class_names(decoded.paths)
    labels = _labels(decoded.paths, class_names) if class_names else None
    _report(root, len(decoded.paths), class_names, skipped)
    split = count_held_out(map(rank, decoded.paths))
    whole = ImageSet(decoded.images, labels)
    return Source(str(root), spec, whole.part(slice(split, None)), whole.part(slice(split)), class_names, skipped)


@dataclass(frozen=True)
class Found:
    """Files that look like images, in alphabetical order, and those that cannot even be looked at."""

    files: list[SourceFile]
    skipped: list[Skipped]


def find_images(root: Path) -> Found:
    """Finds every image below a folder, by suffix; hidden ones are ignored and loops of links are harmless.

    Raises:
        DataError: The folder cannot be listed.
    """
    files: list[SourceFile] = []
    skipped: list[Skipped] = []
    for path in _walk(root, skipped):
        relative = path.relative_to(root).as_posix()
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would never end
                skipped.append(Skipped(relative, "Not a regular file."))
            elif not os.access(path, os.R_OK):  # checked here, so that allowing it later is noticed
                skipped.append(Skipped(relative, "No permission to read the file."))
            else:
                files.append(SourceFile(relative, status.st_size, status.st_mtime_ns))
        except OSError as error:
            skipped.append(Skipped(relative, f"The file cannot be opened: {error.strerror or error}."))
    return Found(files, skipped)


def _walk(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    visited: set[tuple[int, int]] = set()

    def report(error: OSError) -> None:
        if Path(error.filename) == root:
            raise DataError(f"{root}: expected a folder that can be listed, found: {error.strerror}.") from error
        skipped.append(Skipped(Path(error.filename).relative_to(root).as_posix(), error.strerror or str(error)))

    for folder, subfolders, names in os.walk(root, onerror=report, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link back to a folder already seen
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(folder, name)


def _class_names(paths: list[str]) -> tuple[str, ...] | None:
    if any("/" not in path for path in paths):
        return None
    names = {path.split("/", 1)[0] for path in paths}
    return tuple(sorted(names)) if len(names) > 1 else None


def _labels(paths: list[str], class_names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    index = {name: number for number, name in enumerate(class_names)}
    return np.array([index[path.split("/", 1)[0]] for path in paths], np.int64)


def _report(root: Path, count: int, class_names: tuple[str, ...] | None, skipped: tuple[Skipped, ...]) -> None:
    kind = f"{len(class_names)} classes, one per folder (for evaluation only)" if class_names else "unlabelled"
    _log.info("%s: %d images, %s", root, count, kind)
    if skipped:
        _log.warning("%s: %d of %d files skipped", root, len(skipped), len(skipped) + count)
        for item in skipped:
            _log.warning("  %s: %s", item.path, item.reason)
