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

__all__ = ["AT_ONCE", "MOST_CONNECTIONS", "Arrival", "closed", "drive", "poisson"]

AT_ONCE = -math.inf
"""When a request is due that waits only for a connection; its latency counts from when it is sent."""
MOST_CONNECTIONS = 2048
"""As many as uvicorn lets wait to be accepted; beyond that the kernel answers for the server, with resets."""
_LOOK_S = 0.02


class Arrival(NamedTuple):
    """A request and when it is due, in seconds from the start or `AT_ONCE`."""

    due_s: float
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
        yield Arrival(AT_ONCE, requests[number % len(requests)])
        number += 1


def drive(port: int, arrivals: Iterable[Arrival], connections: int, record: Callable[[Answer], object]) -> None:
    """Sends every request when it is due, and returns when the last is answered or given up.

    Args:
        port: Of the server, on this machine.
        arrivals: In the order in which they are due.
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
        self._again: deque[Arrival] = deque()
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
        while self._can_send and (arrival := self._pop_due(arrivals)):
            self._send(arrival)

    @property
    def _can_send(self) -> bool:
        return bool(self._idle) or len(self._open) < self._most

    def _pop_due(self, arrivals: Iterator[Arrival]) -> Arrival | None:
        if self._again:
            return self._again.popleft()
        due = self._next
        if due is None or due.due_s > self._now_s():
            return None
        self._next = next(arrivals, None)
        return due

    def _send(self, arrival: Arrival) -> None:
        connection = self._idle.pop() if self._idle else Connection(self._port)
        now_s = self._now_s()
        connection.begin(arrival.request, now_s if arrival.due_s == AT_ONCE else arrival.due_s, now_s)
        if connection.fileno() not in self._open:
            self._open[connection.fileno()] = connection
            self._epoll.register(connection, select.EPOLLIN)
        if connection.writing:
            self._epoll.modify(connection, select.EPOLLIN | select.EPOLLOUT)

    def _wait(self) -> None:
        """Until something arrives or is due; `select` takes microseconds, where `epoll` would round to milliseconds."""
        pause_s = self._next.due_s - self._now_s() if self._next and self._can_send else _LOOK_S
        select.select([self._epoll], [], [], min(max(pause_s, 0.0), _LOOK_S))
        for descriptor, events in self._epoll.poll(0):
            connection = self._open[descriptor]
            if events & select.EPOLLOUT:
                connection.write()
                if not connection.writing:
                    self._epoll.modify(connection, select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                connection.read()
                self._settle(descriptor, connection)

    def _settle(self, descriptor: int, connection: Connection) -> None:
        """After something was read: an answer, an end, or neither yet."""
        request = connection.request
        if connection.closed:
            del self._open[descriptor]  # epoll forgets a socket that is closed
            if request is None:
                self._idle.remove(connection)
            elif connection.stale:
                self._again.append(Arrival(connection.due_s, request))
            else:
                self._finish(connection, request, connection.status if connection.answered else BROKEN)
        elif connection.answered and request is not None:
            self._finish(connection, request, connection.status)
            self._idle.append(connection)

    def _finish(self, connection: Connection, request: Request, status: int) -> None:
        connection.request = None
        moments = (connection.due_s, connection.sent_s, self._now_s())
        self._record(Answer(request, status, *moments, connection.retry_after_s))

    def _give_up(self) -> None:
        """Hangs up where a client's patience has ended."""
        now_s = self._now_s()
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        for descriptor, connection in list(self._open.items()):
            request = connection.request
            if request is not None and now_s >= connection.patient_until_s:
                connection.close()
                del self._open[descriptor]
                self._finish(connection, request, GAVE_UP)
