"""Files that are there whole or not at all; what they hold is not known here."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing under a temporary name, and renames it when everything is on disk.

    Args:
        path: Replaced at once at the end, and untouched if the block raises; its folder must exist.

    Yields:
        The file, for bytes. The temporary name has the process's number: two that write do not mix their bytes.

    Raises:
        OSError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # renamed, or never there: the error before this one matters
            part.unlink()
