"""Images decoded once into a memory-mapped uint8 array, by the code that decodes them in production.

A cache is a folder named by the hash of everything its pixels depend on. In it, `images.npy` has one row per
readable file, and `state.json` says how far decoding has come; it is replaced only after the rows it speaks of are
on disk, so a run that is killed goes on where it was. A lock keeps two processes from writing one cache.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from numpy.lib.format import open_memmap
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.engine.images import DecodeLimits, ImageError, InputSpec, Pixels, decode_image, fit_pixels
from training.datasets.image_set import DataError, Skipped

__all__ = ["CentreCrop", "Decoded", "PixelCache", "SourceFile"]

_FORMAT = 1
_LIMITS = DecodeLimits()
_CHUNK_FILES = 128
_CHUNK_BYTES = 64 << 20
_MAX_THREADS = 8  # each may hold one full-size image, some hundred megabytes at worst
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFile:
    """A file as it was found: path relative to the root with `/`, bytes, time of last change."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class CentreCrop:
    """A square in the middle of images that all have one size; all in pixels. Others are first brought to that size."""

    image_height: int
    image_width: int
    side: int


@dataclass(frozen=True)
class Decoded:
    """The readable images, shape [N, H, W, C] and memory-mapped; their N paths; and the files left out."""

    images: Pixels
    paths: list[str]
    skipped: list[Skipped]


@dataclass(frozen=True)
class _State:
    """How far decoding has come: files looked at, and those of them that were left out, by path and reason."""

    files_done: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows of `images.npy` are filled."""
        return self.files_done - len(self.skipped)


class PixelCache:
    """The decoded pixels of a list of files.

    Args:
        cache_dir: Holds one folder per cache.
        root: What the files' paths are relative to.
        files: What to decode, in the order the rows shall have.
        spec: What every image is brought to.
        crop: If given, what is cut from every image before that.
        read: Gives the bytes of a file by its path, raising OSError if it cannot; by default from the disk.
    """

    def __init__(
        self,
        cache_dir: Path,
        root: Path,
        files: Sequence[SourceFile],
        spec: InputSpec,
        *,
        crop: CentreCrop | None = None,
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        self._files, self._spec, self._crop = files, spec, crop
        self._read = read or (lambda path: (root / path).read_bytes())
        self._row_bytes = math.prod(spec.shape)
        self.path = cache_dir / _key(root, files, spec, crop)
        self._array, self._state_file = self.path / "images.npy", self.path / "state.json"

    def load(self) -> Decoded:
        """Decodes what is not decoded yet, and maps the result, read-only.

        Raises:
            DataError: The cache cannot be written, for example because the disk is full.
        """
        try:
            state = self._read_state()
            if state.files_done < len(self._files):
                self.path.mkdir(parents=True, exist_ok=True)
                with self._lock():
                    state = self._decode_from(self._read_state())
            images = np.load(self._array, mmap_mode="r")
        except OSError as error:
            raise DataError(
                f"{self.path}: expected to keep {self._bytes:,} bytes of decoded images there, "
                f"found: {error.strerror or error}; choose another place with --cache-dir."
            ) from error
        paths = [file.path for file in self._files if file.path not in state.skipped]
        return Decoded(images[: state.rows], paths, [Skipped(path, why) for path, why in state.skipped.items()])

    @property
    def _bytes(self) -> int:
        return len(self._files) * self._row_bytes

    def _lock(self) -> AcquireReturnProxy[FileLock]:
        lock = FileLock(self.path / "lock")
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            _log.warning("Another process is decoding these images; waiting for it (%s).", self.path)
            return lock.acquire()

    def _read_state(self) -> _State:
        """What is on disk, or the start when there is nothing or it is damaged."""
        try:
            state = _State(**json.loads(self._state_file.read_bytes()))
            return state if self._array.stat().st_size > self._bytes else _State()
        except (FileNotFoundError, ValueError, TypeError):
            return _State()

    def _write_state(self, state: _State) -> None:
        part = self._state_file.with_suffix(".part")
        part.write_text(json.dumps(asdict(state)), encoding="ascii")
        part.replace(self._state_file)

    def _decode_from(self, state: _State) -> _State:
        if state.files_done == 0:
            open_memmap(self._array, "w+", np.uint8, (len(self._files), *self._spec.shape)).flush()
        start = self._array.stat().st_size - self._bytes
        step = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // self._row_bytes))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Ordinary writes, not a writable map: on a full disk those raise, where a map would kill the process.
        with (
            self._array.open("r+b") as array,
            ThreadPoolExecutor(min(_usable_cpus(), _MAX_THREADS)) as pool,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task("Decoding images", total=len(self._files), completed=state.files_done)
            while state.files_done < len(self._files):
                files = self._files[state.files_done : state.files_done + step]
                results = list(pool.map(self._decode, files))
                array.seek(start + state.rows * self._row_bytes)
                array.writelines(pixels.data for pixels in results if not isinstance(pixels, str))
                array.flush()
                os.fsync(array.fileno())
                failures = {file.path: why for file, why in zip(files, results, strict=True) if isinstance(why, str)}
                state = _State(files_done=state.files_done + len(files), skipped={**state.skipped, **failures})
                self._write_state(state)
                progress.update(task, completed=state.files_done)
        return state

    def _decode(self, file: SourceFile) -> Pixels | str:
        """The pixels, or why there are none."""
        most = _LIMITS.max_pixels * 8  # four channels of 16 bits, uncompressed
        if file.size_bytes > most:
            return f"The file has {file.size_bytes:,} bytes; at most {most:,} are read."
        try:
            content = self._read(file.path)
            if self._crop is None:
                return decode_image(content, self._spec, _LIMITS)
            return _cropped(content, self._crop, self._spec)
        except ImageError as error:
            return str(error)
        except OSError as error:
            return f"The file cannot be read: {error.strerror or error}."


def _cropped(content: bytes, crop: CentreCrop, spec: InputSpec) -> Pixels:
    whole = spec.model_copy(update={"height": crop.image_height, "width": crop.image_width})
    top, left = (crop.image_height - crop.side) // 2, (crop.image_width - crop.side) // 2
    square = decode_image(content, whole, _LIMITS)[top : top + crop.side, left : left + crop.side]
    return fit_pixels(square, spec, _LIMITS)


def _key(root: Path, files: Sequence[SourceFile], spec: InputSpec, crop: CentreCrop | None) -> str:
    """32 hexadecimal digits of everything the pixels depend on."""
    digest = hashlib.sha256(f"{_FORMAT}\n{spec.model_dump_json()}\n{_LIMITS}\n{crop or ''}".encode())
    digest.update(os.fsencode(root.resolve()))
    for file in files:
        digest.update(os.fsencode(f"{file.path}\0{file.size_bytes}\0{file.mtime_ns}\n"))
    return digest.hexdigest()[:32]


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
