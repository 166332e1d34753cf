"""Calls of the store of collections: in threads of their own, so many at a time, no longer than somebody waits."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from service.api.errors import BusyError
from service.api.limits import Deadline
from service.api.metrics import Metrics
from service.engine.errors import DeadlineExceededError
from service.engine.priority import Priority
from service.search.errors import SearchError, SearchOffError
from service.search.store import Store

__all__ = ["StoreCalls", "store_of"]

T = TypeVar("T")
_THREADS, _MOST_WAITING = 4, 256
_log = logging.getLogger(__name__)


class StoreCalls:
    """The store of one server.

    Args:
        place: Where the collections are; None for a server that keeps none.
        metrics: Told how long each call took, its wait for a thread included.
    """

    def __init__(self, place: str | None, metrics: Metrics) -> None:
        self._place, self._metrics = place, metrics
        # Writers of one collection wait for each other, and upkeep may take minutes: neither holds up a search.
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="read-store")
        self._writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="write-store")
        self._upkeep = ThreadPoolExecutor(1, thread_name_prefix="tend-store")
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._under_way = 0

    def start(self) -> None:
        """Opens the store in the background, as its library takes seconds to import; logs why it cannot be used."""
        if self._place is not None:
            self._upkeep.submit(self._try_to_open)

    async def read(self, deadline: Deadline, work: Callable[[Store], T], priority: Priority = "interactive") -> T:
        """Asks the store for something, off the event loop; the priority is that of its request, for the metrics.

        Raises:
            SearchError: There is no store, or what the work raises.
            BusyError: Too many calls wait.
            DeadlineExceededError: Too late.
        """
        return await self._run(self._readers, deadline, work, priority)

    async def write(self, deadline: Deadline, work: Callable[[Store], T], priority: Priority = "interactive") -> T:
        """Changes something in the store; like `read`, but what has begun is done even when it is too late."""
        return await self._run(self._writers, deadline, work, priority)

    def soon(self, work: Callable[[Store], None]) -> None:
        """Does something for which nobody waits, one after the other."""
        self._upkeep.submit(lambda: work(self._open())).add_done_callback(_log_failure)

    def close(self) -> None:
        """Waits for the calls that have begun, and drops the others."""
        for threads in (self._readers, self._writers, self._upkeep):
            threads.shutdown(cancel_futures=True)

    async def _run(
        self, threads: ThreadPoolExecutor, deadline: Deadline, work: Callable[[Store], T], priority: Priority
    ) -> T:
        if self._under_way >= _MOST_WAITING:
            raise BusyError("The store of the collections has as many calls waiting as it may; try again.", 1)
        self._under_way += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(deadline.left_s):
                return await asyncio.wrap_future(threads.submit(lambda: work(self._open())))
        except TimeoutError:
            raise DeadlineExceededError("The store of the collections did not answer in time.") from None
        finally:
            self._under_way -= 1
            self._metrics.stage.labels("store", priority).observe(time.monotonic() - began)

    def _open(self) -> Store:
        """The store; opened once, and tried anew after a failure."""
        if self._place is None:
            raise SearchOffError(
                "This server keeps no collections: start it with SIMVAE_COLLECTIONS=<folder or s3:// URL> (or "
                "--collections) and the extra 'search' installed."
            )
        with self._opening:
            if self._store is None:
                self._store = Store(self._place)
            return self._store

    def _try_to_open(self) -> None:
        try:
            self._open()
        except SearchError as error:
            _log.warning("collections cannot be served: %s", error)


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.error("work on the collections failed", exc_info=error)


def store_of(request: Request) -> StoreCalls:
    """That of the server."""
    calls: StoreCalls = request.app.state.store
    return calls
