"""The process that answers: the only one of a server, or one of several that a supervisor keeps."""

import asyncio
import contextlib
import ctypes
import functools
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, MutableSequence
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.api.acceptor import Acceptor
from service.api.app import create_app
from service.api.connections import Connections
from service.api.ending import STOP_SIGNALS, give_reason
from service.api.express_protocol import express_protocol
from service.api.listening import BACKLOG, ListenError, start
from service.api.logs import configure_logging
from service.api.repository import Repository
from service.api.settings import Settings

__all__ = ["serve_alone", "serve_as_worker"]


class _Server(uvicorn.Server):
    """Takes connections beside other processes, and stops when the models cannot be served any more.

    Readiness is told of a signal before the socket is closed.

    Args:
        app: Of `create_app`.
        settings: Of the server.
        listener: Bound to its port.
        counts: See `Connections`.
        index: See `Connections`.
    """

    def __init__(
        self, app: FastAPI, settings: Settings, listener: socket.socket, counts: MutableSequence[int], index: int
    ) -> None:
        connections = Connections(counts, index)
        config = uvicorn.Config(
            app,
            http=express_protocol(app, connections),  # type: ignore[arg-type]  # uvicorn's type is a class's, its call any callable's
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nothing here asks who the client is
            ws="none",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        )
        super().__init__(config)
        self._repository: Repository = app.state.repository
        self._repository.on_failure = self.give_up
        self._repository.on_loaded = _settle_memory
        self._listener = listener
        self._connections = self.server_state.connections = connections  # where uvicorn's protocols enter and leave
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, which would have libuv take connections: one a turn, and without regard to other processes."""
        if sys.platform == "win32":  # whose event loop has no way to watch a listener but its own
            await super().startup(sockets=[self._listener])
            return
        await super().startup(sockets=sockets or [])
        protocol_class: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        protocol = functools.partial(
            protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        acceptor: Any = Acceptor(self._listener, protocol, self._connections)
        self.servers.append(acceptor)  # of which uvicorn asks no more than to close

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._repository.begin_drain()
        super().handle_exit(sig, frame)

    def give_up(self) -> None:
        """Ends it as a signal would, but not well."""
        self.failed = self.should_exit = True


def _settle_memory() -> None:
    """Takes what was loaded out of the reach of the garbage collector, whose every round would look at it again.

    What was only needed to load it goes back to the system: the C library keeps it otherwise, for nothing to come.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)


def serve_alone(settings: Settings, listener: socket.socket) -> int:
    """The only process of a server; returns once a signal told it to, and what was accepted is answered.

    Args:
        settings: Of the server.
        listener: Bound to its port.

    Returns:
        The exit code: 0, or 1 when the models could not be loaded.

    Raises:
        ListenError: Another process has come before.
    """
    app = create_app(settings)
    repository: Repository = app.state.repository
    server = _Server(app, settings, listener, [0], 0)
    _obey_signals(server)
    start(listener)
    server.run()
    return 0 if repository.failure is None else give_reason(str(repository.failure))


def serve_as_worker(
    serving: Event, index: int, settings: Settings, listener: socket.socket, counts: MutableSequence[int]
) -> None:
    """One process of several; loads its models, then takes connections of the listener that they share.

    Args:
        serving: Set once it does.
        index: Its number, from 0.
        settings: Of the server.
        listener: Bound to the port.
        counts: Connections of each process, in memory that they share.
    """
    configure_logging(settings)
    app = create_app(settings)
    repository: Repository = app.state.repository
    server = _Server(app, settings, listener, counts, index)
    _obey_signals(server)
    repository.start()
    repository.wait()
    if repository.failure is not None:
        sys.exit(give_reason(str(repository.failure)))
    try:
        start(listener)
    except ListenError as error:
        sys.exit(give_reason(str(error)))
    if not server.should_exit:
        threading.Thread(target=_watch, args=(repository, server), daemon=True).start()
        serving.set()
        server.run()
    sys.exit(int(server.failed))


def _watch(repository: Repository, server: _Server) -> None:
    """Ends a worker whose inference died, so that it is replaced, or whose supervisor did."""
    supervisor = multiprocessing.parent_process()
    while not server.should_exit:
        time.sleep(1)
        orphaned = supervisor is not None and supervisor.pid != os.getppid()  # its pipe lives on in other forks
        if (orphaned or repository.state == "failed") and not server.should_exit:
            server.give_up()


def _obey_signals(server: _Server) -> None:
    """From now on: uvicorn takes signals once its loop runs, and raises them again, to this, once it has drained."""
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
