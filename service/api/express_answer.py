"""Answers of the express as they go over the wire: whole, and ready but for what differs from one to the next."""

from collections.abc import Iterable

import orjson

from service.api.negotiation import JSON
from service.api.npy import write_npy
from service.api.observe import REQUEST_ID
from service.api.outputs import identity, model_headers, server_timing
from service.engine.engine import Engine
from service.engine.prompt import PromptResult

__all__ = ["EmbedAnswer", "http_answer"]

_ID_HEADER = REQUEST_ID.lower().encode()


class EmbedAnswer:
    """The answers of one model in one media type, but for what differs from one to the next.

    Args:
        engine: Of the model.
        media_type: JSON or NPY.
        more: Headers of every answer.
    """

    def __init__(self, engine: Engine, media_type: str, more: dict[str, str]) -> None:
        self._json = media_type == JSON
        content = identity(engine) | {"dim": engine.manifest.embedding.dim, "embeddings": [], "errors": []}
        before, gap, after = orjson.dumps(content).partition(b'"embeddings":')
        self._before, self._after = before + gap, after.removeprefix(b"[]")
        headers = {**model_headers(engine), "Content-Type": media_type, **more}
        lines = [f"{name.lower()}: {value}\r\n" for name, value in headers.items()]
        self._head = "".join(["HTTP/1.1 200 OK\r\n", *lines]).encode("latin-1")

    def write(self, found: PromptResult, request_id: str, more: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The whole answer.

        Args:
            found: The embeddings.
            request_id: Of the request.
            more: Headers of this answer.
        """
        if self._json:
            rows = orjson.dumps(found.means, option=orjson.OPT_SERIALIZE_NUMPY)
            body = b"".join((self._before, rows, self._after))
        else:
            body = write_npy(found.means)
        changing = [
            *more,
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", server_timing(found.timings)),
            (_ID_HEADER, request_id.encode()),
        ]
        return http_answer(self._head, changing, body)


def http_answer(head: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """An HTTP message: a status line and perhaps headers, further headers, the body."""
    return b"".join((head, *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body))
