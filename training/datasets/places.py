"""Folders where the files of named data sets may be, and what to do when they are nowhere. Knows no data sets."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from training.datasets.image_set import DataError

__all__ = ["Places", "written_whole"]


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
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file of the cache for writing under a temporary name, and renames it when everything is on disk.

    Raises:
        DataError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: expected to keep images there, found: {error.strerror or error}; "
            "choose another place with --cache-dir."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # nothing there, or no folder: the error before this one matters
            part.unlink()
