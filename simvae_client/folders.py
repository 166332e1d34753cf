"""The images of a folder, and their embeddings put together again with those that are bad left out."""

import os
from collections.abc import Sequence
from pathlib import Path

from simvae_client.answers import Rows
from simvae_client.flows import Part
from simvae_client.results import BadImage, Embeddings, FolderEmbeddings

__all__ = ["find_images", "folder_result"]

_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif .heic .heif .jxl".split()  # noqa: SIM905
)


def find_images(folder: str | os.PathLike[str]) -> list[str]:
    """Lists what looks like an image by its suffix, in all subfolders, sorted; hidden ones are left out.

    Returns:
        Paths below the folder, with slashes.

    Raises:
        OSError: It, or a folder below it, cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[str] = []
    for root, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(root).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if not name.startswith(".") and _suffix(name) in _SUFFIXES]
    return sorted(found)


def folder_result(paths: Sequence[str], parts: Sequence[Part[Rows]]) -> FolderEmbeddings:
    """Puts the parts together.

    Args:
        paths: Of all images, in the order in which they were cut into parts.
        parts: What became of them.

    Raises:
        FingerprintError: They are of several models.
    """
    good: list[str] = []
    bad: list[BadImage] = []
    for part in parts:
        for index, place in enumerate(part.body.places):
            path = paths[place.index]
            if index in part.value.bad:
                bad.append(BadImage(path, part.value.bad[index]))
            else:
                good.append(path)
        bad += [BadImage(paths[place.index], reason) for place, reason in (*part.body.unreadable, *part.refused)]
    embeddings = Embeddings.stack([part.value.embeddings for part in parts])
    return FolderEmbeddings(tuple(good), embeddings, tuple(sorted(bad, key=lambda each: each.path)))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path takes longer than the rest of listing a file
