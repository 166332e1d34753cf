"""The shortest way, for the commonest requests to `POST /embed`: one image, or a few as a `.npy`, with no options.

Most of what a request may ask for costs time to find absent. This looks at the headers once; a request that asks for
nothing is embedded by the default model and answered with bytes that are ready but for what differs from one to the
next. Small work for a quick model goes past the queue, too. Everything else goes the long way, and so does a bad image:
it fails there again, and is reported.

Knows no server: `service.api.express_protocol` brings the requests, and takes the answers.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import orjson
from fastapi.routing import APIRoute
from starlette.types import Scope

from service.api.auth import check_keys
from service.api.errors import ApiError, UnauthorizedError
from service.api.express_ride import Ride, Tell
from service.api.negotiation import JSON, NPY
from service.api.npy import read_npy, write_npy
from service.api.observe import REQUEST_ID, Observe
from service.api.outputs import identity, model_headers, server_timing
from service.api.repository import Repository
from service.api.requests import IndexedRequest
from service.api.settings import MIB, Settings
from service.engine.engine import Engine
from service.engine.images import Pixels
from service.engine.prompt import PromptResult

__all__ = ["Express", "Wish"]


Sent = Literal["image", "pixels"]
_SENT: tuple[Sent, ...] = get_args(Sent)


@dataclass(frozen=True)
class Wish:
    """What is sent and what is wanted, as far as the head of a request tells.

    Attributes:
        sent: One encoded image, or a `.npy` of pixels.
        given: The media type of the answer.
        within_s: Seconds from its arrival until it is too late.
    """

    sent: Sent
    given: str
    within_s: float


_MOST_BYTES = 64 * 1024
"""Of a body; what the server holds for a connection anyway, before anybody asks for it."""
_PLAIN_TYPES = (b"image/", b"application/octet-stream", b"application/x-www-form-urlencoded")
_GIVEN = {
    b"*/*": JSON,
    b"application/json": JSON,
    b"application/json, text/plain, */*": JSON,  # of a widespread client for browsers
    NPY.encode(): NPY,
}
_WHOLE_SECONDS = re.compile(rb"[1-9][0-9]{0,5}")  # a shorter timeout is for those who keep it at every step
_LONGEST_WAIT_S = 0.25
"""More work than that is for the queue, which can refuse it, divide it, and drop it when nobody waits any more."""
_LEAST_TIMEOUT_S, _LEAST_QUEUE_BYTES = 1.0, 4 * MIB
"""With less, limits could be reached on this way, which does not look at all of them."""


class Express:
    """Decides which requests are taken, has them embedded, and writes the answers.

    Args:
        route: Of the requests.
        repository: Whose default model answers, if it is quick.
        settings: Of the server.
        observe: Counts and logs them, as all others.
    """

    def __init__(self, route: APIRoute, repository: Repository, settings: Settings, observe: Observe) -> None:
        self._route, self._repository, self._settings, self._observe = route, repository, settings, observe
        self._keys = settings.api_keys
        self._open = (
            settings.request_timeout_s >= _LEAST_TIMEOUT_S
            and settings.max_queue_bytes >= _LEAST_QUEUE_BYTES
            and settings.max_body_bytes >= _MOST_BYTES
        )
        self._telling = {b"content-encoding", b"expect", *([b"origin"] if settings.cors_origins else [])}
        timeout_s = settings.request_timeout_s
        self._wishes = {(sent, given): Wish(sent, given, timeout_s) for sent in _SENT for given in (JSON, NPY)}
        self._forms: dict[str, _Form] = {}

    def wish_of(self, scope: Scope) -> Wish | None:
        """What a request asks for, if its head asks for nothing that is not given here; None for the long way.

        Raises:
            QueueFullError: Its body need not be read.
        """
        if not self._open or scope["path"] != self._route.path or scope["method"] != "POST" or scope["query_string"]:
            return None
        wish = self._wish_of(scope["headers"])
        if wish is None or self._repository.default is None or not self._may(scope):
            return None
        self._observe.begin(scope)
        if self._repository.prompt is None:
            self._repository.check_room("interactive", wish.within_s)
        return wish

    def embed(
        self, scope: Scope, wish: Wish, body: bytes, tell: Tell, loop: asyncio.AbstractEventLoop
    ) -> Callable[[], None] | None:
        """Has a body embedded.

        Args:
            scope: Of the request.
            wish: Of the request.
            body: All of it.
            tell: Called on the event loop with what became of it.
            loop: That one.

        Returns:
            What to call if the client leaves; None for the long way.

        Raises:
            EngineError: Not admitted.
        """
        engine, prompt = self._repository.default, self._repository.prompt
        images = body if wish.sent == "image" else self._block(body)
        if engine is None or images is None or not len(images):
            return None
        if prompt is not None and prompt.wait_s <= _LONGEST_WAIT_S and prompt.takes(images):
            prompt.put(images, tell, loop.call_soon)
            return _stay
        if not isinstance(images, bytes) and images.shape[1:] != engine.manifest.input.shape:
            return None
        left_s = scope["state"]["arrived"] + wish.within_s - time.monotonic()
        return Ride(engine, [images] if isinstance(images, bytes) else list(images), left_s, tell, loop).leave

    def refuse(self, scope: Scope, error: Exception) -> None:
        """Has the application say no more than this; the request is then counted and answered as refused there."""
        scope["route"] = self._route
        scope["state"]["refusal"] = error

    def answer(self, scope: Scope, wish: Wish, found: PromptResult, more: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The whole answer, and the request is counted.

        Args:
            scope: Of the request.
            wish: What it asked for.
            found: Its embeddings.
            more: Headers of the server's.
        """
        form = self._forms.get(wish.given)
        if form is None:
            form = self._forms[wish.given] = _Form(self._repository.get(None), wish.given)
        request_id = self._observe.begin(scope)
        answer = form.fill(found, request_id, more)
        scope["route"] = self._route
        scope["state"]["items"] = len(found.means)
        self._repository.metrics.stages(found.timings, "interactive")
        self._observe.end(scope, 200)
        return answer

    def _wish_of(self, headers: Sequence[tuple[bytes, bytes]]) -> Wish | None:
        found = dict(reversed(headers))  # of several by one name, the first counts, as everywhere
        if not self._telling.isdisjoint(found):
            return None
        sent, given = _sent(found.get(b"content-type", b"image/")), _GIVEN.get(found.get(b"accept", b"*/*"))
        length, within = found.get(b"content-length", b""), found.get(b"x-request-timeout")
        small = length.isdigit() and len(length) <= 8 and int(length) <= _MOST_BYTES
        if sent is None or given is None or not small:
            return None
        wish = self._wishes[sent, given]
        if within is None:
            return wish
        return replace(wish, within_s=min(float(within), wish.within_s)) if _WHOLE_SECONDS.fullmatch(within) else None

    def _may(self, scope: Scope) -> bool:
        if self._keys:
            try:
                check_keys(IndexedRequest(scope), self._keys)
            except UnauthorizedError:
                return False
        return True

    def _block(self, body: bytes) -> Pixels | None:
        """The pixels of a `.npy`, of shape [N, …], N at least 1; None if it is no such, or too many."""
        try:
            pixels = read_npy(body, np.uint8)
        except ApiError:
            return None
        return pixels if 0 < len(pixels) <= self._settings.max_items else None


class _Form:
    """The answers of one model in one media type, but for what differs from one to the next."""

    def __init__(self, engine: Engine, media_type: str) -> None:
        self._json = media_type == JSON
        content = identity(engine) | {"dim": engine.manifest.embedding.dim, "embeddings": [], "errors": []}
        self._before, gap, self._after = orjson.dumps(content).partition(b'"embeddings":')
        self._before, self._after = self._before + gap, self._after.removeprefix(b"[]")
        headers = {**model_headers(engine), "Content-Type": media_type}
        lines = [f"{name.lower()}: {value}\r\n" for name, value in headers.items()]
        self._head = "".join(["HTTP/1.1 200 OK\r\n", *lines]).encode("latin-1")

    def fill(self, found: PromptResult, request_id: str, more: Iterable[tuple[bytes, bytes]]) -> bytes:
        if self._json:
            rows = orjson.dumps(found.means, option=orjson.OPT_SERIALIZE_NUMPY)
            body = [self._before, rows, self._after]
        else:
            body = [write_npy(found.means)]
        return b"".join(
            (
                self._head,
                *(b"%b: %b\r\n" % header for header in more),
                b"content-length: %d\r\nserver-timing: %b\r\n%b: %b\r\n\r\n"
                % (sum(map(len, body)), server_timing(found.timings), _REQUEST_ID, request_id.encode()),
                *body,
            )
        )


def _sent(content_type: bytes) -> Sent | None:
    if content_type == _NPY:
        return "pixels"
    return "image" if content_type.startswith(_PLAIN_TYPES) else None


def _stay() -> None:
    """What has begun past the queue is done in a moment."""


_NPY, _REQUEST_ID = NPY.encode(), REQUEST_ID.lower().encode()
