"""Who asks without waiting for answers: requests fall due at moments that no server can delay.

A closed loop asks less when the server gets slower, and so hides what its users would wait ("coordinated omission").
Here latency counts from the moment a request was due, whatever kept it from being sent. The closed loop is here too,
for the same client to find out what a server can do at most.
"""

import math
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from serving.connection import Connection
from serving.request import BROKEN, GAVE_UP, Answer, Request

__all__ = ["Arrival", "closed", "drive", "poisson"]

_LOOK_S = 0.02


class Arrival(NamedTuple):
    """A request and when it is due, in seconds from the start; at once if that is `None`."""

    due_s: float | None
    request: Request


def poisson(requests: Sequence[Request], rate_per_s: float, seconds: float, seed: int = 0) -> Iterator[Arrival]:
    """Independent users: gaps are exponential with mean 1 / rate, and the requests are taken in turn.

    Args:
        requests: At least one.
        rate_per_s: Mean number of requests a second, above 0.
        seconds: No request is due later.
        seed: Of the gaps.
    """
    random = np.random.default_rng(seed)
    due_s, number = random.exponential(1 / rate_per_s), 0
    while due_s < seconds:
        yield Arrival(due_s, requests[number % len(requests)])
        due_s, number = due_s + random.exponential(1 / rate_per_s), number + 1


def closed(requests: Sequence[Request], seconds: float) -> Iterator[Arrival]:
    """The closed loop: each connection sends as soon as it has its answer, for some seconds."""
    end_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        yield Arrival(None, requests[number % len(requests)])
        number += 1


def drive(port: int, arrivals: Iterable[Arrival], connections: int, record: Callable[[Answer], object]) -> None:
    """Sends every request when it is due, and returns when the last is answered or given up.

    Args:
        port: Of the server, on this machine.
        arrivals: In the order in which they are due; those due at once wait only for a connection.
        connections: The most at a time; kept alive, and opened as they are needed. When all are busy a request waits,
            and its latency counts on.
        record: Is given every answer, once for every arrival; moments count from the start.
    """
    driver = _Driver(port, connections, record)
    try:
        driver.run(iter(arrivals))
    finally:
        driver.close()


class _Driver:
    """The event loop: asyncio's and uvloop's timers are a millisecond coarse, which is what is measured here."""

    def __init__(self, port: int, connections: int, record: Callable[[Answer], object]) -> None:
        self._port, self._most, self._record = port, connections, record
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._again: deque[Connection] = deque()
        self._next: Arrival | None = None
        self._look_s = 0.0
        self._start_s = time.monotonic()

    def close(self) -> None:
        """Hangs up everywhere."""
        for connection in self._open.values():
            connection.close()
        self._epoll.close()

    def run(self, arrivals: Iterator[Arrival]) -> None:
        """Until there is nothing left to send or to wait for."""
        self._next = next(arrivals, None)
        while self._next or self._again or len(self._open) > len(self._idle):
            self._send_due(arrivals)
            self._give_up()
            self._wait()

    def _now_s(self) -> float:
        return time.monotonic() - self._start_s

    def _send_due(self, arrivals: Iterator[Arrival]) -> None:
        while (self._again or self._due_in_s() <= 0) and (connection := self._free()):
            if self._again:
                stale = self._again.popleft()
                self._begin(connection, stale.request, stale.due_s)
                continue
            now_s = self._now_s()
            self._begin(connection, self._next.request, now_s if self._next.due_s is None else self._next.due_s)
            self._next = next(arrivals, None)

    def _due_in_s(self) -> float:
        if self._next is None:
            return math.inf
        return 0.0 if self._next.due_s is None else self._next.due_s - self._now_s()

    def _free(self) -> Connection | None:
        if self._idle:
            return self._idle.pop()
        return Connection(self._port) if len(self._open) < self._most else None

    def _begin(self, connection: Connection, request: Request, due_s: float) -> None:
        connection.begin(request, due_s, self._now_s())
        if connection.fileno() not in self._open:
            self._open[connection.fileno()] = connection
            self._epoll.register(connection, select.EPOLLIN)
        if connection.writing:
            self._epoll.modify(connection, select.EPOLLIN | select.EPOLLOUT)

    def _wait(self) -> None:
        """Until something arrives or is due; `select` takes microseconds, where `epoll` would round to milliseconds."""
        pause_s = max(self._due_in_s(), 0.0) if self._can_send else _LOOK_S
        select.select([self._epoll], [], [], min(pause_s, _LOOK_S))
        for descriptor, events in self._epoll.poll(0):
            connection = self._open[descriptor]
            if events & select.EPOLLOUT:
                connection.write()
                if not connection.writing:
                    self._epoll.modify(connection, select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                connection.read()
                self._settle(descriptor, connection)

    @property
    def _can_send(self) -> bool:
        return bool(self._idle) or len(self._open) < self._most

    def _settle(self, descriptor: int, connection: Connection) -> None:
        """After something was read: an answer, an end, or neither yet."""
        idle = connection.request is None
        if connection.closed:
            del self._open[descriptor]  # epoll forgets a socket that is closed
            if idle:
                self._idle.remove(connection)
            elif connection.stale:
                self._again.append(connection)
            else:
                self._finish(connection, connection.status if connection.answered else BROKEN)
        elif connection.answered and not idle:
            self._finish(connection, connection.status)
            self._idle.append(connection)

    def _finish(self, connection: Connection, status: int) -> None:
        moments = (connection.due_s, connection.sent_s, self._now_s())
        self._record(Answer(connection.request, status, *moments, connection.retry_after_s))
        connection.request = None

    def _give_up(self) -> None:
        """Hangs up where a client's patience has ended."""
        now_s = self._now_s()
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        for descriptor, connection in list(self._open.items()):
            if connection.request is not None and now_s >= connection.patient_until_s:
                connection.close()
                del self._open[descriptor]
                self._finish(connection, GAVE_UP)
