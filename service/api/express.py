"""The shortest way, for the commonest requests: one small image, or a few as a `.npy`, to `POST /embed`, no options.

Most of what a request may ask for costs time to find absent. This looks at the headers once; a request that asks for
nothing is embedded by the default model, promptly, and answered with bytes that are ready but for what differs from one
to the next. Everything else goes the long way, and so does what fails here: it fails there again, and is reported.

Knows no server: `service.api.express_protocol` brings the requests, and takes the answers.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import orjson
from fastapi.routing import APIRoute
from starlette.types import Scope

from service.api.auth import check_keys
from service.api.errors import ApiError, UnauthorizedError
from service.api.negotiation import JSON, NPY
from service.api.npy import read_npy, write_npy
from service.api.observe import REQUEST_ID, Observe
from service.api.outputs import identity, model_headers, server_timing
from service.api.repository import Repository
from service.api.requests import IndexedRequest
from service.api.settings import MIB, Settings
from service.engine.engine import Engine
from service.engine.images import Pixels
from service.engine.inputs import SMALL_BYTES, is_small
from service.engine.prompt import PromptResult
from service.engine.ticket import Post

__all__ = ["Express", "Wish"]


@dataclass(frozen=True)
class Wish:
    """What is sent and what is wanted, as far as the head of a request tells.

    Attributes:
        sent: One encoded image, or a `.npy` of pixels.
        given: The media type of the answer.
    """

    sent: Literal["image", "pixels"]
    given: str

    @property
    def most_bytes(self) -> int:
        """Of the body."""
        return SMALL_BYTES if self.sent == "image" else _MOST_PIXEL_BYTES


_MOST_PIXEL_BYTES = 64 * 1024
"""What the server holds for a connection anyway, before anybody asks for it."""
_PLAIN_TYPES = (b"image/", b"application/octet-stream", b"application/x-www-form-urlencoded")
_GIVEN = {
    b"*/*": JSON,
    b"application/json": JSON,
    b"application/json, text/plain, */*": JSON,  # of a widespread client for browsers
    NPY.encode(): NPY,
}
_WISHES = {(sent, given): Wish(sent, given) for sent in ("image", "pixels") for given in (JSON, NPY)}
_WHOLE_SECONDS = re.compile(rb"[1-9][0-9]{0,5}")  # a shorter timeout is for those who keep it at every step
_LONGEST_WAIT_S = 0.25
"""More work than that is for those who can refuse it, divide it, and drop it when nobody waits any more."""
_LEAST_TIMEOUT_S, _LEAST_QUEUE_BYTES = 1.0, 4 * MIB
"""With less, limits could be reached on this way, which looks at none of them."""


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
            and settings.max_body_bytes >= _MOST_PIXEL_BYTES
        )
        self._forms: dict[str, _Form] = {}

    def wish_of(self, scope: Scope) -> Wish | None:
        """What a request asks for, if its head asks for nothing that is not given here; None for the long way."""
        if not self._open or scope["path"] != self._route.path or scope["method"] != "POST" or scope["query_string"]:
            return None
        wish = self._wish_of(scope["headers"])
        if wish is None or not self._may(scope):
            return None
        prompt = self._repository.prompt
        if prompt is None or prompt.wait_s > _LONGEST_WAIT_S:
            return None
        self._observe.begin(scope)
        return wish

    def embed(self, wish: Wish, body: bytes, tell: Callable[[PromptResult | None], None], soon: Post) -> bool:
        """Has a body embedded; False for the long way.

        Args:
            wish: Of the request.
            body: All of it.
            tell: See `Prompt.put`.
            soon: See `Prompt.put`.
        """
        prompt = self._repository.prompt
        if prompt is None:
            return False
        if wish.sent == "image":
            images: bytes | Pixels | None = body if is_small(body) else None
        else:
            images = self._pixels(body)
            images = images if images is not None and prompt.takes(images) else None
        if images is None:
            return False
        prompt.put(images, tell, soon)
        return True

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

    def _wish_of(self, headers: Iterable[tuple[bytes, bytes]]) -> Wish | None:
        sent, given, length = "image", JSON, b""
        for name, value in headers:
            match name:
                case b"content-length":
                    length = value
                case b"content-type":
                    if value == _NPY:
                        sent = "pixels"
                    elif not value.startswith(_PLAIN_TYPES):
                        return None
                case b"accept":
                    if value not in _GIVEN:
                        return None
                    given = _GIVEN[value]
                case b"x-request-timeout":
                    if not _WHOLE_SECONDS.fullmatch(value):
                        return None
                case b"content-encoding" | b"expect":
                    return None
                case b"origin":
                    if self._settings.cors_origins:
                        return None
        wish = _WISHES[sent, given]
        return wish if length.isdigit() and len(length) <= 8 and int(length) <= wish.most_bytes else None

    def _may(self, scope: Scope) -> bool:
        if self._keys:
            try:
                check_keys(IndexedRequest(scope), self._keys)
            except UnauthorizedError:
                return False
        return True

    def _pixels(self, body: bytes) -> Pixels | None:
        try:
            pixels = read_npy(body, np.uint8)
        except ApiError:
            return None
        return pixels if len(pixels) <= self._settings.max_items else None


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


_NPY, _REQUEST_ID = NPY.encode(), REQUEST_ID.lower().encode()
