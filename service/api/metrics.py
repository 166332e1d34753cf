"""What Prometheus reads at `/metrics`; one registry for each app, so that two apps in a process never mix."""

import asyncio
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.api.histogram import ManyHistogram
from service.api.metrics_folder import METRICS_VARIABLE
from service.engine.bundle import Manifest
from service.engine.priority import PRIORITIES, Priority
from service.engine.ticket import Timings

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

T = TypeVar("T")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCHES = tuple(2**power for power in range(11))
_MOST_WAITING = 512
_FLUSH_S = 0.25


class Metrics:
    """The counters and histograms of one server.

    What every request adds is gathered and counted many at a time, at the latest when somebody asks.

    Args:
        queue_items: Reads how many items are between admission and outcome.
        bulk_items: Reads how many of them are bulk.
    """

    def __init__(self, queue_items: Callable[[], int], bulk_items: Callable[[], int]) -> None:
        registry = self.registry = CollectorRegistry()
        self._shared = METRICS_VARIABLE in os.environ  # prometheus_client looked at it when it was imported
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("simvae_requests", "Requests answered.", ["route", "code"], registry=registry)
        self._bulk_requests = Counter(
            "simvae_bulk_requests", "Those of the requests that are bulk.", ["route", "code"], registry=registry
        )
        self.duration = ManyHistogram(
            "simvae_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage = ManyHistogram(
            "simvae_stage_duration_seconds",
            "The longest any item of a request took in a stage: decode, queue, inference.",
            ["stage", "priority"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = {
            priority: [self.stage.labels(name, priority) for name in ("decode", "queue", "inference")]
            for priority in PRIORITIES
        }
        self.items = Counter(
            "simvae_items", "Items that went through a model; items / batches = mean batch.", registry=registry
        )
        self.batches = Counter("simvae_batches", "Runs of a model.", registry=registry)
        self.batch_size = ManyHistogram("simvae_batch_size", "Items of a run.", buckets=_BATCHES, registry=registry)
        self.batch_seconds = Counter("simvae_batch_seconds", "Time spent in runs of a model.", registry=registry)
        self.rejected = Counter("simvae_rejected", "Requests refused before work.", ["reason"], registry=registry)
        self.dropped = Counter(
            "simvae_dropped", "Requests whose work was dropped: client-gone or too-late.", ["reason"], registry=registry
        )
        self.image_errors = Counter("simvae_image_errors", "Images that were refused.", ["kind"], registry=registry)
        self._answered: dict[tuple[str, int, Priority], list[float]] = {}
        self._timings: dict[Priority, list[Timings]] = {priority: [] for priority in PRIORITIES}
        self._waiting = 0
        self._queues: list[tuple[Gauge, Callable[[], int]]] = []
        for name, text, read in (
            ("simvae_queue_items", "Items between admission and outcome.", queue_items),
            ("simvae_queue_bulk_items", "Those of the items in the queue that are bulk.", bulk_items),
        ):
            gauge = Gauge(name, text, registry=registry, multiprocess_mode="livesum")
            self._queues.append((gauge, read))
            if not self._shared:
                gauge.set_function(read)
        self._models = Gauge(
            "simvae_model_info",
            "1 for each model that is loaded.",
            ["name", "model_version", "fingerprint", "provider", "service_version"],
            registry=registry,
            multiprocess_mode="max",
        )

    def request(self, route: str, status: int, seconds: float, priority: Priority) -> None:
        """Counts one request that was answered; on the event loop."""
        self._answered.setdefault((route, status, priority), []).append(seconds)
        self._waiting += 1
        if self._waiting >= _MOST_WAITING:
            self.flush()

    def batch(self, items: int, seconds: float) -> None:
        """Counts one run of a model; called in the inference thread."""
        self.items.inc(items)
        self.batches.inc()
        self.batch_size.observe(items)
        self.batch_seconds.inc(seconds)

    def stages(self, timings: Timings, priority: Priority) -> None:
        """Counts the stages of one request; on the event loop, before `request`."""
        self._timings[priority].append(timings)

    def flush(self) -> None:
        """Counts what was gathered."""
        self._waiting = 0
        for (route, status, priority), waiting in self._answered.items():
            if seconds := _drained(waiting):
                self.duration.labels(route).observe_many(seconds)
                self.requests.labels(route, status).inc(len(seconds))
                if priority == "bulk":
                    self._bulk_requests.labels(route, status).inc(len(seconds))
        for priority, gathered in self._timings.items():
            if timings := _drained(gathered):
                taken = zip(*((each.decode_s, each.queue_s, each.inference_s) for each in timings), strict=True)
                for stage, seconds_of_all in zip(self._stages[priority], taken, strict=True):
                    stage.observe_many(seconds_of_all)
        if self._shared:
            self._read_queues()

    async def flush_regularly(self) -> None:
        """Does so for ever where several processes count together: who is asked cannot ask the others."""
        while self._shared:
            await asyncio.sleep(_FLUSH_S)
            self.flush()

    def model(self, manifest: Manifest, fingerprint: str, provider: str) -> None:
        """Names a model that was loaded."""
        labels = (manifest.name, str(manifest.version), fingerprint, provider, version("simvae"))
        self._models.labels(*labels).set(1)

    def text(self) -> bytes:
        """The exposition format; of all workers together, where there are several."""
        self.flush()
        if not self._shared:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _read_queues(self) -> None:
        for gauge, read in self._queues:
            gauge.set(read())


def _drained(gathered: list[T]) -> list[T]:
    """What is there, taken out; whatever another thread appends meanwhile stays."""
    found = gathered[:]
    del gathered[: len(found)]
    return found
