"""Folders where the files of named data sets may be, and what to do when they are nowhere. Knows no data sets."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from training.datasets.image_set import DataError
from training.files import written_whole

__all__ = ["Places", "written_to_cache"]


@dataclass(frozen=True)
class Places:
    """Where to look for files and where to put them.

    Attributes:
        look_in: Folders that may hold a data set, themselves or in a subfolder of its name; the first one wins.
        own: The one of them that downloads go to, each data set into its subfolder.
        cache_dir: Where decoded or drawn images are kept.
    """

    look_in: tuple[Path, ...]
    own: Path
    cache_dir: Path

    def find(self, subfolders: Sequence[str], holds: Callable[[Path], bool]) -> Path | None:
        """The first folder that holds what is looked for; subfolders go before the folder that they are in."""
        candidates = (place / name for place in self.look_in for name in (*subfolders, "."))
        return next((folder for folder in candidates if holds(folder)), None)

    def find_or_fetch(
        self, subfolders: Sequence[str], files: str, holds: Callable[[Path], bool], fetch: Callable[[Path], None]
    ) -> Path:
        """The folder that holds the files of a data set; downloads them if none does.

        Args:
            subfolders: What a folder with the files may be called; the first is the data set's name.
            files: The files in words, for the error.
            holds: Whether a folder holds them.
            fetch: Downloads them into a folder.

        Raises:
            DataError: Found nowhere, and the download failed.
        """
        found = self.find(subfolders, holds)
        if found is not None:
            return found
        name = subfolders[0]
        try:
            fetch(self.own / name)
        except DataError as error:
            raise DataError(
                f"{name}: expected its files ({files}) in {', '.join(map(str, self.look_in))} "
                f"or a subfolder {name} of them; found none, and the download failed: {error} "
                "Put the files into one of these folders, or name theirs with --data-dir."
            ) from error
        return self.own / name


@contextlib.contextmanager
def written_to_cache(path: Path) -> Iterator[BinaryIO]:
    """Opens a file of the cache for writing; it is there whole or not at all, and so is its folder.

    Raises:
        DataError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path}: expected to keep images there, found: {error.strerror or error}; "
            "choose another place with --cache-dir."
        ) from error
