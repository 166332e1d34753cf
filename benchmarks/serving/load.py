"""Who asks: wrk in a closed loop, as many connections as told, each sending as soon as it has its answer."""

import contextlib
import http.client
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.forms import Form, Rows
from serving.request import Request, http_request
from serving.workload import Workload

__all__ = ["Asked", "Load", "check", "prepare_load"]

_SCRIPT = Path(__file__).parent / "wrk.lua"
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Asked:
    """What a stretch of load found.

    Attributes:
        images_per_s: Answered.
        p50_ms: Of requests.
        p99_ms: Likewise.
        bad: Requests that failed, or were not answered with success.
    """

    images_per_s: float
    p50_ms: float
    p99_ms: float
    bad: int


@dataclass(frozen=True)
class Load:
    """Requests written to files, ready to be sent.

    Attributes:
        form: How they are written.
        images: In each.
        headers: The file that wrk reads them from.
        bodies: Files; together they hold all images of the workload.
    """

    form: Form
    images: int
    headers: Path
    bodies: tuple[Path, ...]

    def run(self, port: int, connections: int, seconds: float) -> Asked:
        """Sends for some seconds; wrk has one thread, so that it takes no more than one of the cores."""
        target = [f"http://127.0.0.1:{port}", "--", self.form.path, str(self.headers), *map(str, self.bodies)]
        options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(_SCRIPT)]
        done = subprocess.run(["wrk", *options, *target], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        rate = found["requests"] * self.images / found["seconds"]
        return Asked(rate, found["p50_ms"], found["p99_ms"], found["bad"])

    def requests(self, kind: str) -> list[Request]:
        """The same requests for a client in Python, under a name for tables."""
        return [
            Request(kind, http_request(self.form.path, self.form.headers, body.read_bytes()), self.images)
            for body in self.bodies
        ]


def prepare_load(workload: Workload, form: Form, images: int, folder: Path) -> Load:
    """Writes the requests that hold all images of a workload once.

    Args:
        workload: Whose images.
        form: How a request is written.
        images: In each request.
        folder: For the files; made anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents, pixels = workload.contents, workload.pixels()
    headers = folder / "headers"
    headers.write_text("".join(f"{name}: {value}\n" for name, value in form.headers.items()), encoding="ascii")
    bodies = []
    for start in range(0, len(contents) - images + 1, images):
        part = slice(start, start + images)
        bodies.append(folder / f"{start:04}.body")
        bodies[-1].write_bytes(form.write(contents[part], pixels[part]))
    return Load(form, images, headers, tuple(bodies))


def check(load: Load, expected: Rows, port: int) -> None:
    """Sends every request once and compares every embedding with ONNX Runtime's own.

    Args:
        load: The requests.
        expected: Of all images, shape [N, D].
        port: Of the server.

    Raises:
        SystemExit: One differs, or a request failed.
    """
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number, body in enumerate(load.bodies):
            connection.request("POST", load.form.path, body.read_bytes(), load.form.headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != http.client.OK:
                raise SystemExit(f"{load.form.path}: expected status 200, found {answer.status}: {content[:300]!r}")
            rows, start = load.form.read(content), number * load.images
            difference = float(np.abs(rows - expected[start : start + load.images]).max())
            if not difference <= _TOLERANCE:
                raise SystemExit(
                    f"{load.form.path}: expected ONNX Runtime's embeddings, found a difference of {difference}"
                )
