"""Threads that decode what waits, interactive images first."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from service.engine import cpu
from service.engine.priority import Priority, Turns

__all__ = ["DecodePool"]


class DecodePool:
    """A pool of threads, and jobs that wait for one of them.

    Args:
        threads: How many jobs are done at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=cpu.give_way)
        self._waiting: dict[Priority, deque[Callable[[], None]]] = {"interactive": deque(), "bulk": deque()}
        self._turns = Turns()
        self._lock = threading.Lock()

    def put(self, job: Callable[[], None], priority: Priority) -> None:
        """Has a job done behind all others of its priority; after `close`, in the calling thread."""
        with self._lock:
            self._waiting[priority].append(job)
        try:
            self._threads.submit(self._do_next)  # not this job: the one whose turn it is when a thread is free
        except RuntimeError:  # closed after the job was admitted
            self._do_next()

    def close(self) -> None:
        """Waits until all jobs are done, and ends the threads."""
        self._threads.shutdown()

    def _do_next(self) -> None:
        with self._lock:
            priority = self._turns.next([priority for priority, jobs in self._waiting.items() if jobs])
            job = self._waiting[priority].popleft()
        job()
