"""From admission to outcome: one queue, one pool of decode threads, one inference thread per device.

Shared by every engine of a process. Knows neither images, nor ONNX, nor HTTP.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from service.engine.admission import Admission
from service.engine.batcher import Batcher, Lane, Outcomes
from service.engine.cpu import decode_threads as default_decode_threads
from service.engine.cpu import usable_cpus
from service.engine.errors import EngineError, InferenceError, NotReadyError
from service.engine.images import DecodeLimits, ImageError
from service.engine.ticket import Item, Ticket, announce

__all__ = ["Runtime", "Work"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """One item before it is decoded: what it keeps in memory while it waits, and what decodes it."""

    size_bytes: int
    decode: Callable[[], object]


class Runtime:
    """The queue, the threads and the limits.

    Args:
        max_items: The most items that may be anywhere between admission and outcome.
        max_bytes: The most bytes of their encoded images.
        decode_threads: None takes what inference leaves of the usable CPUs.
        max_batch: The most items of one run of a model.
        limits: What one image may cost.
        on_batch: Called after each run, in the inference thread, with its number of items and its seconds.
    """

    def __init__(
        self,
        *,
        max_items: int = 1024,
        max_bytes: int = 512 * 1024 * 1024,
        decode_threads: int | None = None,
        max_batch: int = 64,
        limits: DecodeLimits | None = None,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.max_items, self.max_bytes, self.max_batch = max_items, max_bytes, max_batch
        self.limits = limits or DecodeLimits()
        self._on_batch = on_batch
        self._admission = Admission(max_items, max_bytes)
        threads = decode_threads or default_decode_threads(usable_cpus())
        self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._batchers: dict[str, Batcher] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether every inference thread lives; once False it stays False and the process should be replaced."""
        with self._lock:
            return not self._closed and all(batcher.alive for batcher in self._batchers.values())

    @property
    def load(self) -> int:
        """Items between admission and outcome."""
        return self._admission.items

    def submit(
        self, ticket: Ticket[Any], work: Sequence[Work], lane: Lane[Any, Any], device: str, *, wait: bool = False
    ) -> None:
        """Admits the items of a ticket and starts to decode them.

        Args:
            ticket: Of as many items as there is work.
            work: The items, in order.
            lane: What runs them once they are decoded.
            device: The lanes of one device share one inference thread.
            wait: False admits all at once or refuses; True admits one by one, each waiting for room.

        Raises:
            QueueFullError: No room now (without `wait`).
            RequestTooLargeError: More than the queue can ever hold.
            NotReadyError: Draining, closed or dead.
        """
        batcher = self._batcher(device)
        if not wait:
            self._admission.reserve(len(work), sum(each.size_bytes for each in work))
        for index, each in enumerate(work):
            if wait:
                self._admission.reserve(1, each.size_bytes, wait=True)
            item = Item(ticket, index, each.size_bytes)
            self._decoders.submit(self._decode, item, each.decode, lane, batcher)

    def drain(self, timeout_s: float) -> bool:
        """Admits nothing more and waits until all that was admitted has its outcome; False if the time ran out."""
        return self._admission.drain(timeout_s)

    def close(self) -> None:
        """Ends all threads; what has no outcome by then gets `NotReadyError`."""
        self._admission.drain(0)
        with self._lock:
            self._closed = True
        self._decoders.shutdown()
        for batcher in self._batchers.values():
            batcher.close()
