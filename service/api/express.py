"""The shortest way, for the commonest requests to `POST /embed`: one image, or a few as a `.npy`, with no options.

Most of what a request may ask for costs time to find absent. This looks at the headers once; a request that asks for
nothing is embedded by the default model and answered with bytes that are ready but for what differs from one to the
next. Small work for a quick model goes past the queue, too. Everything else goes the long way, through the application.

Knows no server: `service.api.express_protocol` brings the requests, and takes the answers.
"""

import asyncio
import functools
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal, get_args

import numpy as np
from fastapi.routing import APIRoute
from starlette.types import Scope

from service.api.auth import check_keys
from service.api.errors import TABLE, ApiError, ItemError, UnauthorizedError
from service.api.express_answer import EmbedAnswer, http_answer
from service.api.express_queue import QueuedRequest
from service.api.inputs import UNKNOWN_TYPES, without_parameters
from service.api.negotiation import JSON, NPY
from service.api.npy import read_npy
from service.api.observe import Observe
from service.api.repository import Repository
from service.api.requests import IndexedRequest
from service.api.settings import MIB, Settings
from service.engine.formats import sniff_format
from service.engine.images import ImageError, Pixels
from service.engine.priority import Priority
from service.engine.prompt import PromptResult

__all__ = ["Express", "PlainRequest"]

Sent = Literal["image", "pixels"]
_SENT: tuple[Sent, ...] = get_args(Sent)
_GIVEN = {
    b"*/*": JSON,
    JSON.encode(): JSON,
    b"application/json, text/plain, */*": JSON,  # of a widespread client for browsers
    NPY.encode(): NPY,
}
_PRIORITIES: dict[bytes, Priority] = {
    b"": "interactive",
    b"priority=interactive": "interactive",
    b"priority=bulk": "bulk",
}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_MOST_BYTES = 64 * 1024
"""Of a body; what the server holds for a connection anyway, before anybody asks for it."""
_WHOLE_SECONDS = re.compile(rb"[1-9][0-9]{0,5}")  # a shorter timeout is for those who keep it at every step
_LONGEST_WAIT_S = 0.25
"""More work than that is for the queue, which can refuse it, divide it, and drop it when nobody waits any more."""
_LEAST_TIMEOUT_S, _LEAST_QUEUE_BYTES = 1.0, 4 * MIB
"""With less, limits of time and memory could be reached on this way, which does not count the bytes that arrive."""


@dataclass(frozen=True)
class PlainRequest:
    """What is sent and what is wanted, as far as the head of a request tells.

    Attributes:
        sent: One encoded image, or a `.npy` of pixels; None if it is more than is embedded here.
        given: The media type of the answer.
        within_s: Seconds from its arrival until it is too late.
    """

    sent: Sent | None
    given: str
    within_s: float


class Express:
    """Decides which requests are taken, has them embedded, and writes the answers.

    Args:
        route: Of the requests.
        repository: Whose default model answers.
        settings: Of the server.
        observe: Counts and logs them, as all others.
    """

    def __init__(self, route: APIRoute, repository: Repository, settings: Settings, observe: Observe) -> None:
        self._route, self._repository, self._observe = route, repository, observe
        self._open = (
            settings.request_timeout_s >= _LEAST_TIMEOUT_S
            and settings.max_queue_bytes >= _LEAST_QUEUE_BYTES
            and settings.max_body_bytes >= _MOST_BYTES
        )
        self._keys, self._most_images = settings.api_keys, min(settings.max_items, settings.queue_items)
        self._asking = {b"content-encoding", b"expect", *([b"origin"] if settings.cors_origins else [])}
        timeout_s = settings.request_timeout_s
        kinds = [(sent, given) for sent in (*_SENT, None) for given in (JSON, NPY)]
        self._plain = {(sent, given): PlainRequest(sent, given, timeout_s) for sent, given in kinds}
        self._more = {"Vary": "Origin"} if settings.cors_origins else {}
        self._answers: dict[str, EmbedAnswer] = {}

    def plain(self, scope: Scope) -> PlainRequest | None:
        """What a request asks for, if its head asks for nothing that is not given here; None for the long way.

        Raises:
            QueueFullError: Its body need not be read.
        """
        priority = _PRIORITIES.get(scope["query_string"])
        if not self._open or scope["path"] != self._route.path or scope["method"] != "POST" or priority is None:
            return None
        request = self._read(scope["headers"])
        if request is None or self._repository.default is None or not self._may(scope):
            return None
        self._observe.begin(scope)
        if scope["query_string"]:
            request = replace(request, sent=None)
        if request.sent is None or self._repository.prompt is None:
            scope["state"]["priority"] = priority
            self._repository.check_room(priority, request.within_s)
        return None if request.sent is None else request

    def embed(
        self,
        scope: Scope,
        request: PlainRequest,
        body: bytes,
        tell: Callable[[PromptResult | Exception | None], None],
        loop: asyncio.AbstractEventLoop,
    ) -> Callable[[], None] | None:
        """Has a body embedded.

        Args:
            scope: Of the request.
            request: What `plain` made of it.
            body: All of it.
            tell: Called on the event loop with the embeddings, with why there are none, or with None for the long way.
            loop: That one.

        Returns:
            What to call if the client leaves; None for the long way.

        Raises:
            EngineError: Not admitted.
        """
        engine, prompt = self._repository.default, self._repository.prompt
        images = self._block(body) if request.sent == "pixels" else body if sniff_format(body) else None
        if engine is None or images is None:
            return None
        if request.given not in self._answers:
            self._answers[request.given] = EmbedAnswer(engine, request.given, self._more)
        if prompt is not None and prompt.wait_s <= _LONGEST_WAIT_S and prompt.takes(images):
            prompt.put(images, tell, loop.call_soon)
            return _let_be
        items = [images] if isinstance(images, bytes) else list(images)
        if isinstance(items[0], np.ndarray) and items[0].shape != engine.manifest.input.shape:
            return None
        left_s = scope["state"]["arrived"] + request.within_s - time.monotonic()
        return QueuedRequest(engine, items, left_s, tell, loop).cancel

    def refuse(self, scope: Scope, error: Exception, more: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The whole answer to an error, and the request is counted.

        Args:
            scope: Of the request.
            error: Why it is refused.
            more: Headers of the server's.
        """
        if isinstance(error, ItemError) and isinstance(error.cause, ImageError):
            self._repository.metrics.image_errors.labels(TABLE[type(error.cause)].name).inc()
        scope["route"] = self._route
        response = self._observe.refuse(scope, error)
        head = b"HTTP/1.1 %d %b\r\n" % (response.status_code, _PHRASES.get(response.status_code, b""))
        vary = [(name.lower().encode(), value.encode()) for name, value in self._more.items()]
        return http_answer(head, [*response.raw_headers, *vary, *more], bytes(response.body))

    def answer(
        self, scope: Scope, request: PlainRequest, found: PromptResult, more: Iterable[tuple[bytes, bytes]]
    ) -> bytes:
        """The whole answer, and the request is counted.

        Args:
            scope: Of the request.
            request: What it asked for.
            found: Its embeddings.
            more: Headers of the server's.
        """
        answer = self._answers[request.given].write(found, self._observe.begin(scope), more)
        scope["route"] = self._route
        scope["state"]["items"] = len(found.means)
        self._repository.metrics.stages(found.timings, "interactive")
        self._observe.end(scope, 200)
        return answer

    def _read(self, headers: Sequence[tuple[bytes, bytes]]) -> PlainRequest | None:
        found = dict(reversed(headers))  # of several by one name, the first counts, as everywhere
        if not self._asking.isdisjoint(found):
            return None
        given = _GIVEN.get(found.get(b"accept", b"*/*"))
        kind, within = _kind(found.get(b"content-type", b"")), found.get(b"x-request-timeout")
        if given is None or kind is None or not (within is None or _WHOLE_SECONDS.fullmatch(within)):
            return None
        length = found.get(b"content-length", b"")
        small = length.isdigit() and len(length) <= 8 and int(length) <= _MOST_BYTES
        plain = self._plain[kind if small and kind != "many" else None, given]
        return plain if within is None else replace(plain, within_s=min(float(within), plain.within_s))

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
        return pixels if 0 < len(pixels) <= self._most_images else None


@functools.lru_cache(64)
def _kind(content_type: bytes) -> Sent | Literal["many"] | None:
    """What a body holds: what can be embedded here, or many images; None for what is read in ways of its own."""
    name = without_parameters(content_type.decode("latin-1"))
    if name == NPY:
        return "pixels"
    if name.startswith("image/") or name in UNKNOWN_TYPES:
        return "image"
    return "many" if name in {JSON, "multipart/form-data"} else None


def _let_be() -> None:
    """What has begun past the queue is done in a moment."""
