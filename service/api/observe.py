"""Around every request: its id, its clock, its log line, its metrics, and an answer to what nobody caught."""

import itertools
import logging
import re
import secrets
import time

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import Problem, is_expected
from service.api.metrics import Metrics
from service.api.problems import problem_response
from service.engine.priority import Priority

__all__ = ["Observe"]

REQUEST_ID = "X-Request-ID"
_ID_HEADER = REQUEST_ID.lower().encode()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_GONE = 499
_QUIET = ("/health", "/.well-known", "/v2/health", "/v2/models/{name}/ready", "/metrics")  # asked every few seconds
_BUSY = 429  # a line for each refusal would cost more than the refusal
_std_log = logging.getLogger("service.api.requests")
_log = structlog.stdlib.get_logger(_std_log.name)


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
        request_id = self.begin(scope)
        id_header = (_ID_HEADER, request_id.encode())
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
            response = self._response(Request(scope, receive), error)
            if not status:
                await response(scope, receive, send_with_id)
        finally:
            self.end(scope, status or _CLIENT_GONE)

    def begin(self, scope: Scope) -> str:
        """Notes when a request arrived, unless that was done, and returns its id."""
        state = scope.setdefault("state", {})
        if "request_id" not in state:
            given = next((value for name, value in scope["headers"] if name == _ID_HEADER), b"").decode("latin-1")
            state["request_id"] = given if given and _ID.fullmatch(given) else self._new_id()
            state["arrived"] = time.monotonic()
        request_id: str = state["request_id"]
        return request_id

    def end(self, scope: Scope, status: int) -> None:
        """Counts and logs a request that was answered, or whose client is gone; on the event loop."""
        state = scope["state"]
        seconds = time.monotonic() - state["arrived"]
        route = getattr(scope.get("route"), "path", "unknown")  # the template: a path would be unbounded
        priority: Priority = state.get("priority", "interactive")
        self._metrics.request(route, status, seconds, priority)
        problem: Problem | None = state.get("problem")
        if problem is not None:
            self._count(problem)
        quiet = route.startswith(_QUIET) or status == _BUSY
        level = logging.DEBUG if quiet else logging.INFO
        if not _std_log.isEnabledFor(level):  # asked here, as structlog asks only once it has put the line together
            return
        _log.log(
            level,
            "request",
            request_id=state["request_id"],
            method=scope["method"],
            route=route,
            status=status,
            duration_s=round(seconds, 6),
            items=state.get("items", 0),
            **({"priority": priority} if priority == "bulk" else {}),
            **({} if problem is None else {"problem": problem.kind.name}),
        )

    def refuse(self, scope: Scope, error: Exception) -> Response:
        """The answer to what went wrong before an application was asked; the request is counted and logged."""
        request_id = self.begin(scope)
        response = self._response(Request(scope), error)
        response.raw_headers.append((_ID_HEADER, request_id.encode()))
        self.end(scope, response.status_code)
        return response

    def _response(self, request: Request, error: Exception) -> Response:
        if not is_expected(error):
            _log.error("unexpected failure", request_id=request.state.request_id, exc_info=error)
        return problem_response(request, error)

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._ids):016x}"

    def _count(self, problem: Problem) -> None:
        name, status = problem.kind.name, problem.kind.status
        if status in {499, 504}:
            self._metrics.dropped.labels(name).inc()
        elif status in {401, 429, 503} or name in {"body-too-large", "too-many-items", "request-too-large"}:
            self._metrics.rejected.labels(name).inc()
