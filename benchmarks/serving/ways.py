"""The ways from pixels to embeddings on one device, from the barest to a server, each as a function to be timed."""

import concurrent.futures
import contextlib
import http.client
import io
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.engine.device import open_sessions
from service.engine.engine import Engine
from service.engine.graph import DeviceGraph
from service.engine.images import Pixels
from service.engine.manifest import Manifest, Precision
from service.engine.place import read_place
from service.engine.providers import GpuOptions
from service.engine.runtime import Runtime
from serving.forms import Rows
from serving.process import free_port, served

__all__ = ["Subject", "Way", "over_http", "ways"]

_LATENTS = ("mean", "log_variance")
_IN_FLIGHT = 4
"""Batches that an engine is given at once, so that one is prepared while another runs."""


@dataclass(frozen=True)
class Subject:
    """What is run and where.

    Attributes:
        bundle: Its version folder.
        precision: Of the encoder.
        device: As the service takes it.
        cache: Where TensorRT keeps its engines.
    """

    bundle: Path
    precision: Precision
    device: str
    cache: Path

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return Manifest.model_validate_json((self.bundle / "manifest.json").read_text(encoding="utf-8"))

    @property
    def encoder(self) -> Path:
        """Its file."""
        return self.bundle / self.manifest.encoder(self.precision).file

    def options(self, *, cuda_graphs: bool) -> GpuOptions:
        """Of its device."""
        return GpuOptions(cuda_graphs, self.cache)

    @property
    def can_record(self) -> bool:
        """Whether the device takes CUDA graphs."""
        return read_place(self.device).kind == "cuda"


@dataclass(frozen=True)
class Way:
    """A function that embeds images.

    Attributes:
        name: In tables.
        run: Pixels of shape [N, H, W, C] to means of shape [N, D].
        images: N of one call.
    """

    name: str
    run: Callable[[Pixels], Rows]
    images: int


def ways(subject: Subject, batch: int) -> Iterator[Way]:
    """Every way without HTTP, for batches of one size; each is closed when the next is asked for."""
    place, half = read_place(subject.device), [subject.encoder] if subject.precision == "float16" else []
    gpu = place.gpus[0] if place.gpus else None
    one = subject.device if gpu is None else f"{place.kind}:{gpu}"
    options = subject.options(cuda_graphs=False)
    ((session,),) = open_sessions([subject.encoder], one, options=options, half=half).replicas
    yield Way("session.run", lambda images: session.run(_LATENTS, {"images": images})[0], batch)
    bound = DeviceGraph(session, _LATENTS, gpu)
    yield Way("io binding", lambda images: bound.run(images)[0], batch)
    if subject.can_record:
        options = subject.options(cuda_graphs=True)
        ((session,),) = open_sessions([subject.encoder], one, options=options, half=half).replicas
        recorded = DeviceGraph(session, _LATENTS, gpu, cuda_graphs=True)
        recorded.warm_up(batch)
        yield Way("cuda graphs", lambda images: recorded.run(images)[0], batch)
    for cuda_graphs in (False, True)[: 1 + subject.can_record]:
        with _engine(subject, batch, cuda_graphs=cuda_graphs) as engine:
            name = "engine, cuda graphs" if cuda_graphs else "engine"
            yield Way(name, lambda images, embed=engine.embed: embed(list(images)).mean, _IN_FLIGHT * batch)


@contextlib.contextmanager
def _engine(subject: Subject, batch: int, *, cuda_graphs: bool) -> Generator[Engine]:
    with contextlib.closing(Runtime(max_items=2 * _IN_FLIGHT * batch, max_batch=batch)) as runtime:
        yield Engine.load(
            subject.bundle,
            device=subject.device,
            precision=subject.precision,
            runtime=runtime,
            gpu=subject.options(cuda_graphs=cuda_graphs),
        )


@contextlib.contextmanager
def over_http(subject: Subject, batch: int, clients: int, *, cuda_graphs: bool) -> Generator[Way]:
    """A server, and some threads that each send a `.npy` of one batch and wait for the `.npy` of its embeddings."""
    port = free_port()
    environ = {
        **os.environ,
        "SIMVAE_MODELS": str(subject.bundle),
        "SIMVAE_DEVICE": subject.device,
        "SIMVAE_PRECISION": subject.precision,
        "SIMVAE_CUDA_GRAPHS": str(cuda_graphs),
        "SIMVAE_TENSORRT_CACHE": str(subject.cache),
        "SIMVAE_MAX_BATCH": str(batch),
        "SIMVAE_MAX_ITEMS": str(batch),
        "SIMVAE_QUEUE_ITEMS": str(max(1024, 2 * clients * batch)),
        "SIMVAE_PORT": str(port),
        "SIMVAE_LOG_LEVEL": "warning",
    }
    command = [str(Path(sys.executable).parent / "simvae-serve")]
    with (
        tempfile.TemporaryDirectory() as folder,
        served(command, environ, port, "/health/ready", Path(folder) / "log"),
        concurrent.futures.ThreadPoolExecutor(clients) as pool,
    ):
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(clients)]

        def run(images: Pixels) -> Rows:
            return np.concatenate(list(pool.map(_ask, connections, np.split(images, clients))))

        yield Way("http, cuda graphs" if cuda_graphs else "http", run, clients * batch)


def _ask(connection: http.client.HTTPConnection, images: Pixels) -> Rows:
    body = io.BytesIO()
    np.save(body, images)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    connection.request("POST", "/embed", body.getvalue(), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        raise SystemExit(f"/embed: expected status 200, found {answer.status}: {content[:300]!r}")
    rows: Rows = np.load(io.BytesIO(content))
    return rows
