"""Fetches a file over HTTP(S) and keeps it only if its checksum is the expected one. Knows no data sets."""

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from training.datasets.image_set import DataError

__all__ = ["download", "download_from_any"]

_CHUNK_BYTES = 1 << 16


def download_from_any(urls: Sequence[str], path: Path, checksum: str) -> None:
    """Downloads a file from the first of its addresses that has it, as `download` does.

    Raises:
        DataError: None has it; the message says what was wrong with each.
    """
    failures = []
    for url in urls:
        try:
            return download(url, path, checksum)
        except DataError as error:
            failures.append(str(error))
    raise DataError(" ".join(failures))


def download(url: str, path: Path, checksum: str, *, timeout_s: float = 30.0) -> None:
    """Downloads a file under a temporary name, checks it, and renames it; shows a progress bar on stderr.

    Args:
        url: Where the file is.
        path: Where it shall be; its folder is made.
        checksum: What the file as transferred must have: an algorithm of hashlib, a colon, and hexadecimal digits.
            Some authors publish only MD5. It tells damage, not malice, so readers trust no file for having it.
        timeout_s: How long the server may stay silent.

    Raises:
        DataError: The server cannot be reached or refuses, the connection breaks, the content is not the expected
            one, or it cannot be written. Nothing is left behind.
    """
    algorithm, _, expected = checksum.partition(":")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # per process: two downloads cannot mix their bytes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found, received, announced = _fetch(url, part, algorithm, timeout_s)
        if announced is not None and received < announced:
            raise DataError(
                f"{url}: expected {announced:,} bytes, found {received:,}: the connection broke; try again."
            )
        if found != expected:
            raise DataError(
                f"{url}: expected {algorithm} {expected}, found {found}; the file was changed or damaged on its way."
            )
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(f"{url}: expected to download it to {path.parent}, found: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):  # nothing there, or no folder: the error before this one matters
            part.unlink()


def _fetch(url: str, path: Path, algorithm: str, timeout_s: float) -> tuple[str, int, int | None]:
    """The hash and number of bytes received, and how many the server had announced."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    received = 0
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        urllib.request.build_opener().open(url, timeout=timeout_s) as response,  # urlopen would remember old proxies
        path.open("wb") as file,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
    ):
        announced = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
        task = progress.add_task(url.rsplit("/", 1)[-1], total=announced)
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            progress.update(task, advance=len(chunk))
    return digest.hexdigest(), received, announced
