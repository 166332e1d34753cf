"""The image and docker-compose.yml, built and run for real. `make containers` runs this; it needs Docker or Podman."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.engine.bundle import find_bundles
from service.engine.engine import Engine
from service.engine.images import encode_png

ROOT = Path(__file__).parents[2]
START_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        "SIMVAE_TEST_CONTAINERS" not in os.environ, reason="builds an image, for minutes; run it with `make containers`"
    ),
]


@dataclass(frozen=True)
class Tools:
    """The commands of the container engine that is here."""

    engine: str
    compose: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """A running service container."""

    tools: Tools
    id: str
    address: str

    def engine(self, *arguments: str) -> str:
        done = subprocess.run([self.tools.engine, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def python(self, code: str) -> str:
        """Runs Python inside the container and returns what it printed."""
        return self.engine("exec", self.id, "python", "-c", code)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/health/ready", timeout=5).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
            else:
                return
        pytest.fail(f"not ready after {START_S} s:\n{self.engine('logs', self.id)}")


@pytest.fixture(scope="module")
def tools() -> Tools:
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return Tools("docker", ("docker", "compose"))
    if shutil.which("podman") and shutil.which("podman-compose"):
        return Tools("podman", ("podman-compose",))
    pytest.fail("expected a Docker daemon, or podman with podman-compose, found neither; install one of them")


@pytest.fixture(scope="module")
def container(tools: Tools) -> Iterator[Container]:
    """`docker compose up -d --build`, under a name and on a port that disturb nobody."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"SIMVAE_PORT": str(port)}
    compose = [*tools.compose, "-p", f"simvae-test-{os.getpid()}"]
    try:
        subprocess.run([*compose, "up", "-d", "--build"], cwd=ROOT, env=environment, check=True)
        listing = subprocess.run(
            [*compose, "ps", "-q"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        running = Container(tools, listing.stdout.split()[-1], f"http://127.0.0.1:{port}")
        running.wait_until_ready()
        yield running
    finally:
        subprocess.run([*compose, "down", "-v"], cwd=ROOT, env=environment, check=True)


def test_an_image_gets_the_embedding_that_the_engine_computes_outside(container: Container) -> None:
    engine = Engine.load(find_bundles(ROOT / "models")[0], device="cpu")
    size = engine.manifest.input
    image = np.random.default_rng(0).integers(0, 256, (size.height, size.width, size.channels), dtype=np.uint8)
    request = urllib.request.Request(
        f"{container.address}/embed?model={engine.manifest.reference}",
        data=encode_png(image),
        headers={"Content-Type": "image/png"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert answer["fingerprint"] == engine.fingerprint
    np.testing.assert_allclose(answer["embeddings"][0], engine.embed([image]).mean[0], atol=1e-4)


def test_the_health_check_of_the_image_passes(container: Container) -> None:
    if container.tools.engine == "podman":
        container.engine("healthcheck", "run", container.id)
        return
    deadline = time.monotonic() + START_S
    status = ""
    while status != "healthy" and time.monotonic() < deadline:
        status = container.engine("inspect", "-f", "{{.State.Health.Status}}", container.id)
        time.sleep(1)
    assert status == "healthy"


def test_the_service_is_not_root_and_can_never_become_more(container: Container) -> None:
    status = dict(line.split(":\t") for line in container.python("print(open('/proc/1/status').read())").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_only_tmp_can_be_written(container: Container) -> None:
    mounts = container.python("print(open('/proc/mounts').read())").splitlines()
    read_only = {fields[1]: "ro" in fields[3].split(",") for fields in map(str.split, mounts)}
    assert read_only["/"]
    assert read_only["/models"]
    assert not read_only["/tmp"]  # noqa: S108
    container.python("import tempfile; tempfile.TemporaryFile().write(b'x')")


def test_the_image_has_nothing_that_serving_does_not_need(container: Container) -> None:
    found = container.python(
        "import importlib.util as u, shutil\n"
        "print([m for m in ('torch', 'onnx', 'training', 'export', 'pip', 'pytest') if u.find_spec(m)],"
        " [c for c in ('cc', 'gcc', 'clang', 'make', 'simvae-train') if shutil.which(c)])"
    )
    assert found == "[] []"


def test_sigterm_stops_it_cleanly_and_it_starts_again(container: Container) -> None:
    container.engine("stop", "-t", "45", container.id)
    assert container.engine("inspect", "-f", "{{.State.ExitCode}}", container.id) == "0"
    container.engine("start", container.id)
    container.wait_until_ready()
