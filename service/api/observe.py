"""Around every request: its id, its clock, its log line, its metrics, and an answer to what nobody caught."""

import itertools
import re
import secrets
import time

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import Problem, is_expected, problem_response
from service.api.metrics import Metrics
from service.engine.priority import Priority

__all__ = ["Observe"]

REQUEST_ID = "X-Request-ID"
_ID_HEADER = REQUEST_ID.lower().encode()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_GONE = 499
_BUSY = 429  # a line for each refusal would cost more than the refusal
_log = structlog.stdlib.get_logger("service.api.requests")


class Observe:
    """ASGI middleware; the ids of others are kept when they are short and plain, else a new one is made."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        # A random number per process and a count: random bits for every request would cost a system call each.
        self._prefix, self._ids = secrets.token_hex(8), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        given = request.headers.get(REQUEST_ID, "")
        request.state.request_id = given if _ID.fullmatch(given) else self._new_id()
        request.state.arrived = time.monotonic()
        id_header = (_ID_HEADER, request.state.request_id.encode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], id_header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if not is_expected(error):
                _log.exception("unexpected failure", request_id=request.state.request_id)
            if not status:
                await problem_response(request, error)(scope, receive, send_with_id)
        finally:
            self._record(request, status or _CLIENT_GONE)

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._ids):016x}"

    def _record(self, request: Request, status: int) -> None:
        seconds = time.monotonic() - request.state.arrived
        route = getattr(request.scope.get("route"), "path", "unknown")  # the template: a path would be unbounded
        priority: Priority = getattr(request.state, "priority", "interactive")
        self._metrics.request(route, status, seconds, priority)
        problem: Problem | None = getattr(request.state, "problem", None)
        if problem is not None:
            self._count(problem)
        quiet = route.startswith("/health") or route == "/metrics" or status == _BUSY
        (_log.debug if quiet else _log.info)(
            "request",
            request_id=request.state.request_id,
            method=request.method,
            route=route,
            status=status,
            duration_s=round(seconds, 6),
            items=getattr(request.state, "items", 0),
            **({"priority": priority} if priority == "bulk" else {}),
            **({} if problem is None else {"problem": problem.kind.name}),
        )

    def _count(self, problem: Problem) -> None:
        name, status = problem.kind.name, problem.kind.status
        if status in {499, 504}:
            self._metrics.dropped.labels(name).inc()
        elif status in {401, 429, 503} or name in {"body-too-large", "too-many-items", "request-too-large"}:
            self._metrics.rejected.labels(name).inc()
