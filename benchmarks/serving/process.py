"""A server's life: started, waited for, weighed, stopped with everything it started."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Footprint", "footprint", "free_port", "memory_bytes", "served"]

_START_S, _STOP_S = 120.0, 20.0
_DESCRIPTORS = 1 << 16


@dataclass(frozen=True)
class Footprint:
    """What a process and all it started hold.

    Attributes:
        memory_bytes: Proportional set size: shared pages are counted once.
        descriptors: Open files and sockets.
        threads: Of all of them together.
    """

    memory_bytes: int
    descriptors: int
    threads: int


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def served(
    command: Sequence[str], environ: Mapping[str, str], port: int, ready: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends.

    Args:
        command: Its words.
        environ: Its environment variables.
        port: Where it listens.
        ready: The path that answers 200 once it serves.
        log: Where its output goes.

    Raises:
        SystemExit: It ended, or was not ready in time.
    """
    _allow_descriptors()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}{ready}", log)
            yield process
        finally:
            _stop(process)


def memory_bytes(process: subprocess.Popen[bytes]) -> int:
    """Proportional set size of the process and all it started: shared pages are counted once."""
    return sum(_pss(folder) for folder in _session(process.pid))


def footprint(process: subprocess.Popen[bytes]) -> Footprint:
    """Of the process and all it started."""
    folders = _session(process.pid)
    return Footprint(
        sum(map(_pss, folders)),
        sum(_count(folder / "fd") for folder in folders),
        sum(_count(folder / "task") for folder in folders),
    )


def _allow_descriptors() -> None:
    """Lets the server and this client have thousands of connections; shells allow 1,024 descriptors by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url}: expected a server to be ready within {_START_S:g} s; its words are in {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for folder in _session(process.pid):  # what outlived it, or never listened
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(folder.name), signal.SIGKILL)
    process.wait()


def _session(leader: int) -> list[Path]:
    """Processes of the session that a server was started in: all of its own, and nobody else's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                found.append(folder)
    return found


def _pss(folder: Path) -> int:
    with contextlib.suppress(OSError):
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _count(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return len(list(folder.iterdir()))
    return 0
