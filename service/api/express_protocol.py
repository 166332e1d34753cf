"""uvicorn's HTTP protocol, with a side door: what `Express` takes is answered before a task or an application sees it.

Parsing, pipelining, timeouts of idle connections and the end of a server stay uvicorn's. A request that is taken has a
cycle of uvicorn's like all others, but nobody runs the application for it; when the express has no answer, the
application is run after all, and finds the request as if it had just come.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, cast

from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.connections import Connections
from service.api.express import Express, PlainRequest
from service.engine.errors import EngineError
from service.engine.prompt import PromptResult

__all__ = ["ExpressProtocol", "express_protocol"]

_BODY_S = 0.05
"""For so long the rest of a small body is awaited here: clients send it right after the head, most in one piece."""

_Awaited = tuple[RequestResponseCycle, PlainRequest]


def express_protocol(app: FastAPI, connections: Connections) -> Callable[..., asyncio.Protocol]:
    """What uvicorn takes as its setting `http`.

    Args:
        app: Of `create_app`.
        connections: Of the server that takes it.
    """
    return functools.partial(ExpressProtocol, app.state.express, connections)


class ExpressProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        express: Takes what it can.
        connections: Those that the server has open.
        given: What uvicorn makes its protocols with.
    """

    def __init__(self, express: Express, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._express, self._connections = express, connections
        self._awaited: _Awaited | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._running: tuple[RequestResponseCycle, Callable[[], None]] | None = None

    def data_received(self, data: bytes) -> None:
        """What the transport calls."""
        super().data_received(data)
        self._be_patient()

    def on_message_complete(self) -> None:
        """What the parser calls at the end of a body."""
        super().on_message_complete()
        cycle = self.cycle  # not before now: what is closed while a body comes loses the answer
        if cycle.keep_alive and not cycle.response_started and not self.pipeline:
            cycle.keep_alive = not self._connections.gives_up(self)
        if self._awaited is not None and self._awaited[0] is self.cycle:
            self._embed(*self._settle(self._awaited))

    def on_response_complete(self) -> None:
        """What a cycle calls at its end; a request that came before it was asked for has its turn then."""
        if self.cycle.response_complete:
            self.cycle.body = bytearray()  # what came of a body that was refused is not kept until the next
        super().on_response_complete()
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """What the transport calls at the end."""
        super().connection_lost(exc)
        self._give_up()
        if self._running is not None:
            cycle, cancel = self._running
            cancel()
            cycle.disconnected = True  # uvicorn tells the last one that came, which may wait behind this
            self._refuse(cycle, ClientDisconnect())

    # Not of uvicorn's public interface, which has no place between its parser and the application's task.
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """What uvicorn calls when it is a request's turn, after its head has come, perhaps with all of it."""
        plain = app is self.app and cycle.keep_alive and not self.flow.write_paused
        try:
            request = self._express.plain(_scope(cycle)) if plain else None
        except EngineError as error:
            self._refuse(cycle, error)
            return
        if request is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._awaited = cycle, request
        else:
            self._embed(cycle, request)

    def _be_patient(self) -> None:
        if self._awaited is not None and self._patience is None:
            self._patience = self.loop.call_later(_BODY_S, self._give_up)

    def _give_up(self) -> None:
        """Leaves the request whose body has not come to the application, which knows how long to wait for it."""
        if self._awaited is not None:
            cycle, _ = self._settle(self._awaited)
            super()._start_asgi_task(cycle, self.app)

    def _settle(self, awaited: _Awaited) -> _Awaited:
        if self._patience is not None:
            self._patience.cancel()
        self._awaited = self._patience = None
        return awaited

    def _embed(self, cycle: RequestResponseCycle, request: PlainRequest) -> None:
        body, cycle.body = bytes(cycle.body), bytearray()
        tell = functools.partial(self._end, cycle, request, body)
        try:
            cancel = self._express.embed(_scope(cycle), request, body, tell, self.loop)
        except EngineError as error:
            self._refuse(cycle, error)
            return
        if cancel is None:
            self._hand_over(cycle, body)
        else:
            self._running = cycle, cancel

    def _end(
        self, cycle: RequestResponseCycle, request: PlainRequest, body: bytes, found: PromptResult | Exception | None
    ) -> None:
        if self._running is None:  # the client is gone
            return
        self._running = None
        if found is None:
            self._hand_over(cycle, body)
        elif isinstance(found, Exception):
            self._refuse(cycle, found)
        else:
            self._answer(cycle, request, found)

    def _hand_over(self, cycle: RequestResponseCycle, body: bytes) -> None:
        """To the application, as if nobody had looked at it."""
        cycle.body = bytearray(body)
        super()._start_asgi_task(cycle, self.app)

    def _answer(self, cycle: RequestResponseCycle, request: PlainRequest, found: PromptResult) -> None:
        try:
            content = self._express.answer(_scope(cycle), request, found, _headers(cycle))
        except Exception as error:  # others wait to be told after this one
            self._refuse(cycle, error)
        else:
            self._write(cycle, content)

    def _refuse(self, cycle: RequestResponseCycle, error: Exception) -> None:
        self._running = None
        self._write(cycle, self._express.refuse(_scope(cycle), error, _headers(cycle)))

    def _write(self, cycle: RequestResponseCycle, content: bytes) -> None:
        cycle.response_started = cycle.response_complete = True
        if cycle.disconnected:
            return
        self.transport.write(content)
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # as uvicorn does: it holds the connection, which holds the cycle


def _headers(cycle: RequestResponseCycle) -> list[tuple[bytes, bytes]]:
    return cycle.default_headers if cycle.keep_alive else [*cycle.default_headers, (b"connection", b"close")]


def _scope(cycle: RequestResponseCycle) -> Scope:
    return cast("Scope", cycle.scope)  # uvicorn's own type of the same


def _nothing() -> None:
    pass
