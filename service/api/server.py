"""The process that answers: the only one of a server, or one of several that a supervisor keeps."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.synchronize import Event
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.ending import STOP_SIGNALS, give_reason
from service.api.express_protocol import express_protocol
from service.api.listening import BACKLOG, ListenError, handles, listen
from service.api.logs import configure_logging
from service.api.repository import Repository
from service.api.settings import Settings

__all__ = ["serve_alone", "serve_as_worker"]


class _Server(uvicorn.Server):
    """Stops when the models cannot be served any more, and tells readiness of a signal before it closes the socket."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            http=express_protocol(app),  # type: ignore[arg-type]  # uvicorn's type is a class's, its call any callable's
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
        self.failed = False

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
        listener: Of its port.

    Returns:
        The exit code: 0, or 1 when the models could not be loaded.
    """
    app = create_app(settings)
    repository: Repository = app.state.repository
    _ignore_repeated_signals()
    _Server(app, settings).run(sockets=handles(listener))
    return 0 if repository.failure is None else give_reason(str(repository.failure))


def serve_as_worker(serving: Event, settings: Settings) -> None:
    """One process of several; loads its models, then listens on the port that they share.

    Args:
        serving: Set once it does.
        settings: Of the server, with the port to listen on.
    """
    configure_logging(settings)
    app = create_app(settings)
    repository: Repository = app.state.repository
    server = _Server(app, settings)
    for number in STOP_SIGNALS:  # until uvicorn takes them
        signal.signal(number, server.handle_exit)
    repository.start()
    repository.wait()
    if repository.failure is not None:
        sys.exit(give_reason(str(repository.failure)))
    try:
        listener = listen(settings, beside_others=True)
    except ListenError as error:
        sys.exit(give_reason(str(error)))
    if not server.should_exit:
        _ignore_repeated_signals()
        threading.Thread(target=_watch, args=(repository, server), daemon=True).start()
        serving.set()
        server.run(sockets=handles(listener))
    sys.exit(int(server.failed))


def _watch(repository: Repository, server: _Server) -> None:
    """Ends a worker whose inference died, so that it is replaced, or whose supervisor did."""
    supervisor = multiprocessing.parent_process()
    while not server.should_exit:
        time.sleep(1)
        orphaned = supervisor is not None and supervisor.pid != os.getppid()  # its pipe lives on in other forks
        if (orphaned or repository.state == "failed") and not server.should_exit:
            server.give_up()


def _ignore_repeated_signals() -> None:
    """For uvicorn raises the signal again once it has drained; by then it was obeyed, and the exit code must be 0."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
