"""Several server processes on one port: started, replaced when they die, and ended together.

They share a listener, and each takes connections from it only once its models are loaded: no request meets a process
that cannot answer it.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from service.api.ending import STOP_SIGNALS
from service.api.metrics_folder import METRICS_VARIABLE

__all__ = ["Supervisor"]

_SETTLED_S, _LONGEST_PAUSE_S = 10.0, 30.0
_log = structlog.stdlib.get_logger("service.api")


class Supervisor:
    """Keeps a number of processes running until a signal, or until one cannot even begin.

    On Linux they are forks of this one, so it must have started no event loop, no inference session and no thread but
    those of libraries that expect forks.

    Args:
        target: What a process does; importable by name. It returns once a signal told it to.
        arguments: Of the target; they can be pickled. Before them come an event, for the process to set once it serves,
            and its number, counted from 0, which the one that replaces it has again.
        count: How many processes.
        at_end: Called before they are told to end.
        at_death: Called with the number of one that ended by itself, before it is replaced.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        count: int,
        at_end: Callable[[], None] = lambda: None,
        at_death: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._target, self._arguments = target, arguments
        self._at_end, self._at_death = at_end, at_death
        # Forks share the memory of what was imported before. On macOS the system's own libraries may not survive one
        # (https://github.com/python/cpython/issues/77906).
        fork = sys.platform == "linux"
        self._context = multiprocessing.get_context("fork") if fork else multiprocessing.get_context("spawn")
        self._count = count
        self._workers: list[_Worker] = []
        self._served = self._stopping = False
        self._pause_s = 1.0

    def run(self) -> int:
        """Starts, waits and replaces.

        Returns:
            The exit code: 0 after a signal, 1 if the processes cannot serve.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        gc.collect()
        gc.freeze()  # a collector that looks at what forks share writes to it, and so copies it
        failed = False
        with _readable_after_a_signal() as signalled:
            self._workers = [self._start(index) for index in range(self._count)]
            while not self._stopping and not failed:
                wait([signalled, *(worker.process.sentinel for worker in self._workers)])
                failed = not self._replace_dead(signalled)
            return max(self._end(), int(failed))

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self, index: int) -> "_Worker":
        serving = self._context.Event()
        process = self._context.Process(target=_begin, args=(self._target, serving, index, *self._arguments))
        with _signals_blocked():  # one that came to a fork before it is itself would be lost
            process.start()
        return _Worker(process, serving)

    def _replace_dead(self, signalled: socket.socket) -> bool:
        """False when a process ended before any ever served: the next one would end like it."""
        for index, worker in enumerate(self._workers):
            if worker.process.is_alive() or self._stopping:
                continue
            worker.bury()
            self._at_death(index)
            self._served = self._served or any(each.serving.is_set() for each in self._workers)
            if not self._served:
                return False
            lived_s = time.monotonic() - worker.started_at
            self._pause_s = 1.0 if lived_s > _SETTLED_S else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            _log.error("a worker died and is replaced", pid=worker.process.pid, exit_code=worker.process.exitcode)
            wait([signalled], self._pause_s)
            if not self._stopping:
                self._workers[index] = self._start(index)
        return True

    def _end(self) -> int:
        self._at_end()
        alive = [worker for worker in self._workers if worker.process.is_alive()]  # how others died was told then
        for worker in alive:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.bury()
        return int(any(worker.process.exitcode for worker in alive if worker.serving.is_set()))


class _Worker:
    """A process, whether it came to serve, and since when it runs."""

    def __init__(self, process: BaseProcess, serving: Any) -> None:
        self.process, self.serving, self.started_at = process, serving, time.monotonic()

    def bury(self) -> None:
        """Takes what it measured of the moment out of the sums."""
        if self.process.pid is not None and METRICS_VARIABLE in os.environ:
            from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  # it looks for the folder

            mark_process_dead(self.process.pid)  # type: ignore[no-untyped-call]


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    """In the new process: signals are its own, and end it until it says otherwise."""
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    target(*arguments)


@contextlib.contextmanager
def _readable_after_a_signal() -> Iterator[socket.socket]:
    """What ends a wait."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)  # what Python asks of a wake-up descriptor
        signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(-1)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
