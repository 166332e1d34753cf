"""What Prometheus reads at `/metrics`; one registry for each app, so that two apps in a process never mix."""

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.engine.bundle import Manifest
from service.engine.priority import PRIORITIES, Priority
from service.engine.ticket import Timings

__all__ = ["CONTENT_TYPE_LATEST", "METRICS_DIR", "Metrics"]

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client knows that several processes count together."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCHES = tuple(2**power for power in range(11))


class Metrics:
    """The counters and histograms of one server.

    Args:
        queue_items: Reads how many items are between admission and outcome.
        bulk_items: Reads how many of them are bulk.
    """

    def __init__(self, queue_items: Callable[[], int], bulk_items: Callable[[], int]) -> None:
        registry = self.registry = CollectorRegistry()
        self._shared = METRICS_DIR in os.environ  # prometheus_client looked at it when it was imported
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("simvae_requests", "Requests answered.", ["route", "code"], registry=registry)
        self._bulk_requests = Counter(
            "simvae_bulk_requests", "Those of the requests that are bulk.", ["route", "code"], registry=registry
        )
        self.duration = Histogram(
            "simvae_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage = Histogram(
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
        self.batch_size = Histogram("simvae_batch_size", "Items of a run.", buckets=_BATCHES, registry=registry)
        self.batch_seconds = Counter("simvae_batch_seconds", "Time spent in runs of a model.", registry=registry)
        self.rejected = Counter("simvae_rejected", "Requests refused before work.", ["reason"], registry=registry)
        self.dropped = Counter(
            "simvae_dropped", "Requests whose work was dropped: client-gone or too-late.", ["reason"], registry=registry
        )
        self.image_errors = Counter("simvae_image_errors", "Images that were refused.", ["kind"], registry=registry)
        self._of_request: dict[tuple[str, int, Priority], tuple[Histogram, Sequence[Counter]]] = {}
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
        """Counts one request that was answered."""
        found = self._of_request.get((route, status, priority))
        if found is None:  # kept, as `labels` takes longer than counting
            counters = [self.requests, self._bulk_requests] if priority == "bulk" else [self.requests]
            found = self.duration.labels(route), [counter.labels(route, status) for counter in counters]
            self._of_request[route, status, priority] = found
        duration, children = found
        duration.observe(seconds)
        for counter in children:
            counter.inc()
        if self._shared:  # nobody can ask for it later, who asks another process
            self._read_queues()

    def batch(self, items: int, seconds: float) -> None:
        """Counts one run of a model; called in the inference thread."""
        self.items.inc(items)
        self.batches.inc()
        self.batch_size.observe(items)
        self.batch_seconds.inc(seconds)

    def stages(self, timings: Timings, priority: Priority) -> None:
        """Counts the stages of one request."""
        taken = timings.decode_s, timings.queue_s, timings.inference_s
        for stage, seconds in zip(self._stages[priority], taken, strict=True):
            stage.observe(seconds)

    def model(self, manifest: Manifest, fingerprint: str, provider: str) -> None:
        """Names a model that was loaded."""
        labels = (manifest.name, str(manifest.version), fingerprint, provider, version("simvae"))
        self._models.labels(*labels).set(1)

    def text(self) -> bytes:
        """The exposition format; of all workers together, where there are several."""
        if not self._shared:
            return generate_latest(self.registry)
        self._read_queues()
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _read_queues(self) -> None:
        for gauge, read in self._queues:
            gauge.set(read())
