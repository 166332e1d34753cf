"""The project's commands, run as a user runs them, and a service started by its own command."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of the project's commands and insists that it succeeds."""

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([BIN / name, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name} {arguments}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[httpx.Client]]:
    """Starts `simvae-serve` on a model repository and gives a client once it is ready; SIGTERM must end it with 0."""

    @contextlib.contextmanager
    def run(models: Path, *flags: str) -> Iterator[httpx.Client]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        arguments = ["--models", str(models), "--port", str(port), "--log-level", "warning", *flags]
        process = subprocess.Popen([BIN / "simvae-serve", *arguments])
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _wait_until_ready(process, client)
                yield client
        finally:
            process.terminate()
            assert process.wait(30) == 0

    return run


def _wait_until_ready(process: subprocess.Popen[bytes], client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "simvae-serve ended before it was ready"
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail("simvae-serve was not ready in time")
