"""The shortest way, for the commonest request: one small image as the body of `POST /embed`, with no options.

Most of what a request may ask for costs time to find absent. This looks at the headers once; a request that asks for
nothing is embedded by the default model, promptly. Everything else goes the long way, and so does what fails here: it
fails there again, and is reported.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

import orjson
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth import check_key
from service.api.errors import UnauthorizedError
from service.api.negotiation import JSON
from service.api.outputs import identity, model_headers, server_timing
from service.api.repository import Repository
from service.api.requests import IndexedRequest
from service.api.settings import MIB, Settings
from service.engine.engine import Engine
from service.engine.inputs import SMALL_BYTES, is_small
from service.engine.prompt import Prompt, PromptResult

__all__ = ["Express"]

_PLAIN = {  # of the headers that matter, the beginnings that ask for nothing
    b"accept": (b"*/*", b"application/json"),
    b"content-type": (b"image/", b"application/octet-stream", b"application/x-www-form-urlencoded"),
    b"content-encoding": (b"identity",),
}
_WHOLE_SECONDS = re.compile(rb"[1-9][0-9]{0,5}")  # a shorter timeout is for those who keep it at every step
_LONGEST_WAIT_S = 0.25
"""More work than that is for those who can refuse it, divide it, and drop it when nobody waits any more."""
_LEAST_TIMEOUT_S, _LEAST_QUEUE_BYTES = 1.0, 4 * MIB
"""With less, limits could be reached on this way, which looks at none of them."""


class Express:
    """ASGI middleware, inside of one that answers exceptions (`observe`).

    Args:
        app: The long way.
        route: Of the requests it takes.
        repository: Whose default model answers, if it is quick.
        settings: Of the server.
    """

    def __init__(self, app: ASGIApp, route: APIRoute, repository: Repository, settings: Settings) -> None:
        self._app, self._route, self._repository = app, route, repository
        self._keyed = bool(settings.api_keys)
        self._timeout_s = settings.request_timeout_s
        self._open = (
            settings.request_timeout_s >= _LEAST_TIMEOUT_S
            and settings.max_queue_bytes >= _LEAST_QUEUE_BYTES
            and settings.max_body_bytes >= SMALL_BYTES
        )
        self._form: _Form | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs one request."""
        timeout_s = self._timeout_of(scope)
        prompt = self._repository.prompt if timeout_s else None
        if not timeout_s or prompt is None or prompt.wait_s > _LONGEST_WAIT_S:
            await self._app(scope, receive, send)
            return
        # To be stopped in time costs a tenth of all this, and is not needed where nothing has to be waited for.
        message = await (receive() if _is_there(receive) else _arrived(receive, timeout_s))
        image, more = message.get("body", b""), message.get("more_body", True)
        found = None if more or not is_small(image) else await _embedded(prompt, image)
        if found is None:
            await self._app(scope, _replayed(message, receive), send)
            return
        scope["route"] = self._route
        scope["state"]["items"] = 1
        self._repository.metrics.stages(found.timings, "interactive")
        await self._answer(found, send)

    def _timeout_of(self, scope: Scope) -> float | None:
        """Seconds that the request has, if it asks for nothing else as far as its head tells; None for the long way."""
        if not self._open or scope["type"] != "http" or scope["path"] != self._route.path:
            return None
        if scope["method"] != "POST" or scope["query_string"]:
            return None
        length, timeout_s = b"", self._timeout_s
        for name, value in scope["headers"]:
            if name in _PLAIN and not value.startswith(_PLAIN[name]):
                return None
            if name == b"content-length":
                length = value
            elif name == b"x-request-timeout":
                if not _WHOLE_SECONDS.fullmatch(value):
                    return None
                timeout_s = min(timeout_s, float(value))
        small = length.isdigit() and len(length) <= 8 and int(length) <= SMALL_BYTES
        return timeout_s if small and self._may(scope) else None

    def _may(self, scope: Scope) -> bool:
        if self._keyed:
            try:
                check_key(IndexedRequest(scope))
            except UnauthorizedError:
                return False
        return True

    async def _answer(self, found: PromptResult, send: Callable[[Message], Awaitable[None]]) -> None:
        if self._form is None:
            engine = self._repository.get(None)
            self._form = _Form(engine)
        await self._form.send(found, send)


class _Form:
    """The answer of one model, but for what differs from request to request."""

    def __init__(self, engine: Engine) -> None:
        content = identity(engine) | {"dim": engine.manifest.embedding.dim, "embeddings": [None], "errors": []}
        self._before, gap, self._after = orjson.dumps(content).rpartition(b"[null]")
        self._before, self._after = self._before + gap[:1], gap[-1:] + self._after
        headers = {**model_headers(engine), "Content-Type": JSON}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def send(self, found: PromptResult, send: Callable[[Message], Awaitable[None]]) -> None:
        row = orjson.dumps(found.mean, option=orjson.OPT_SERIALIZE_NUMPY)
        body = b"".join((self._before, row, self._after))
        changing = [(b"content-length", b"%d" % len(body)), (b"server-timing", server_timing(found.timings))]
        await send({"type": "http.response.start", "status": 200, "headers": self._headers + changing})
        await send({"type": "http.response.body", "body": body})


def _embedded(prompt: Prompt, image: bytes) -> "asyncio.Future[PromptResult | None]":
    loop = asyncio.get_running_loop()
    embedded: asyncio.Future[PromptResult | None] = loop.create_future()

    def tell(result: PromptResult | None) -> None:
        if not embedded.done():
            embedded.set_result(result)

    prompt.put(image, tell, loop.call_soon)
    return embedded


async def _arrived(receive: Receive, timeout_s: float) -> Message:
    """What arrives first; when time is up, nothing, and the long way finds that it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            return await receive()
    return {"type": "http.request", "body": b"", "more_body": True}


def _is_there(receive: Receive) -> bool:
    """Whether the whole body has arrived already: uvicorn knows, other servers do not say."""
    return not getattr(getattr(receive, "__self__", None), "more_body", True)


def _replayed(message: Message, receive: Receive) -> Receive:
    """What was received, to be received again."""
    first = [message]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
