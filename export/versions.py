"""A model's folder of the repository and its numbered versions, each there entirely or not at all."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_name", "move_into_place", "next_version", "scratch_folder"]


def check_name(target: Path) -> None:
    """Refuses a folder whose name no request could hold.

    Raises:
        ValueError: The name cannot be a model's.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", target.name):
        raise ValueError(
            f"expected a model name of lower-case letters, digits, '.', '_' and '-', found {target.name!r}"
        )


def next_version(target: Path) -> int:
    """One more than the largest version in `<models>/<name>`, which need not be there."""
    return max((int(entry.name) for entry in target.glob("[0-9]*") if entry.name.isdecimal()), default=0) + 1


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder on the same disk as the target, gone afterwards whatever happens; readers ignore hidden names."""
    target.mkdir(parents=True, exist_ok=True)
    folder = target / f".export-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(target.iterdir()):
            target.rmdir()


def move_into_place(folder: Path, target: Path, version: int) -> Path:
    """Renames a finished folder to `<target>/<version>`.

    Raises:
        ValueError: That version was made meanwhile.
    """
    path = target / str(version)
    try:
        folder.rename(path)
    except OSError as error:
        raise ValueError(
            f"{path}: expected no version {version} yet, found one made meanwhile; export again."
        ) from error
    return path
