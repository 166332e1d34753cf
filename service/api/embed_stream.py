"""Embeddings line by line: NDJSON in, NDJSON out, in order, while the request is still being read.

A `LineFeed` fills a `Window` and this half empties it. What is wrong with one line is its answer; what ends the stream
is its last line, which says where to go on.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import structlog
from starlette.requests import ClientDisconnect, Request

from service.api.content_encoding import coding_of
from service.api.duplex import DuplexResponse, Writer
from service.api.errors import TABLE, ApiError, BusyError, problem_of
from service.api.inputs import query_options
from service.api.limits import patience_s
from service.api.line_feed import LineFeed, has_room
from service.api.negotiation import LINES, preferred
from service.api.options import LineOptions, parse_options
from service.api.outputs import encode_rows, model_headers, pack
from service.api.repository import Repository
from service.api.settings import Settings
from service.api.threads import off_loop
from service.api.window import Entry, Window
from service.engine.engine import Engine
from service.engine.errors import DeadlineExceededError, InferenceError, RequestTooLargeError
from service.engine.images import ImageError
from service.engine.results import Embedding, Embeddings
from service.engine.ticket import Ticket, Timings

__all__ = ["embed_stream"]

_LINGER_S = 2.0
_ALONE = (ImageError, InferenceError, RequestTooLargeError, ApiError)
_log = structlog.stdlib.get_logger("service.api.streams")


def embed_stream(request: Request) -> DuplexResponse:
    """The answer to a stream of lines; all that can be checked before the first of them is.

    Raises:
        ApiError: The stream is refused; see the table in `errors`.
        NotReadyError: Nothing is loaded yet.
    """
    media_type = preferred(request.headers.get("accept"), LINES)
    coding_of(request.headers)
    options = parse_options(LineOptions, query_options(request))
    repository: Repository = request.app.state.repository
    engine = repository.get(options.model)
    limit_s = patience_s(request, request.app.state.settings.request_timeout_s)
    spec = engine.manifest.embedding
    pack(np.empty((0, spec.dim), np.float32), options.dtype, normalize=options.normalize, spec=spec)
    request.state.priority = priority = options.priority or "bulk"
    if not has_room(engine):
        raise BusyError("The server is too busy to begin a stream; try again later.", engine.runtime.wait_s(priority))
    headers = model_headers(engine) | {
        "X-Embedding-Dim": str(spec.dim),
        "X-Accel-Buffering": "no",  # what nginx buffers of an answer may be all of it
    }
    return DuplexResponse(_EmbedStream(request, engine, options, limit_s).run, headers, media_type, limit_s)


class _EmbedStream:
    """The writing half."""

    def __init__(self, request: Request, engine: Engine, options: LineOptions, limit_s: float) -> None:
        self._request, self._engine, self._options, self._limit_s = request, engine, options, limit_s
        self._state = request.state
        self._state.items = 0  # lines that were answered, and so the index of the next
        self._timings = Timings()

    async def run(self, writer: Writer) -> bool:
        """Answers line after line; what ends the stream before its first answer is raised, for an ordinary problem.

        Returns:
            Whether every line was answered.
        """
        app, max_batch = self._request.app.state, self._engine.runtime.max_batch
        settings: Settings = app.settings
        repository: Repository = app.repository
        with app.budget.share(self._state.priority) as share:
            window = Window(share, max_lines=2 * max_batch, max_bytes=settings.max_body_bytes, limit_s=self._limit_s)
            feed = LineFeed(self._request, self._engine, self._state.priority, window, self._limit_s)
            feeding = asyncio.create_task(feed.run(share))
            try:
                while entries := await window.ready(max_batch):
                    window.remove(await self._answer(entries, writer))
            except Exception as error:
                if not writer.started:
                    raise
                window.close()
                await self._end(error, writer, feed.arrived)
                return False
            else:
                return True
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})
                window.close()
                if self._state.items:
                    repository.metrics.stages(self._timings, self._state.priority)

    async def _answer(self, entries: Sequence[Entry], writer: Writer) -> int:
        """Writes the answers of entries up to the first one that ends the stream; returns how many."""
        outcomes: list[Embedding | Exception] = []
        for entry in entries:
            outcome = entry.outcome
            if isinstance(outcome, Exception) and not isinstance(outcome, _ALONE):
                if not outcomes:
                    raise outcome
                break
            outcomes.append(outcome)
        size_bytes = 4 * self._engine.manifest.embedding.dim * len(outcomes)
        await writer.write(await off_loop(size_bytes, lambda: self._render(entries, outcomes)))
        self._note(entries[: len(outcomes)], outcomes)
        return len(outcomes)

    def _render(self, entries: Sequence[Entry], outcomes: Sequence[Embedding | Exception]) -> bytes:
        options, spec = self._options, self._engine.manifest.embedding
        found = Embeddings.stack([each for each in outcomes if isinstance(each, Embedding)], spec.dim)
        packed = pack(found.mean, options.dtype, normalize=options.normalize, spec=spec)
        rows = iter(encode_rows(packed.rows, options.encoding))
        variances = iter(encode_rows(found.variance, options.encoding) if options.variance else ())
        lines: list[bytes] = []
        for index, (entry, outcome) in enumerate(zip(entries, outcomes, strict=False), self._state.items):
            line: dict[str, Any] = {"index": index}
            line |= {} if entry.id is None else {"id": entry.id}
            if isinstance(outcome, Exception):
                line["error"] = problem_of(outcome).body
            else:
                line |= {} if packed.scale is None else {"scale": packed.scale}
                line["embedding"] = next(rows)
                line |= {"variance": next(variances)} if options.variance else {}
            lines.append(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        return b"".join(lines)

    def _note(self, entries: Sequence[Entry], outcomes: Sequence[Embedding | Exception]) -> None:
        repository: Repository = self._request.app.state.repository
        for entry, outcome in zip(entries, outcomes, strict=True):
            if isinstance(entry.work, Ticket):
                self._timings = self._timings.longest(entry.work.timings)
            if isinstance(outcome, ImageError):
                repository.metrics.image_errors.labels(TABLE[type(outcome)].name).inc()
        self._state.items += len(outcomes)

    async def _end(self, error: Exception, writer: Writer, arrived: asyncio.Event) -> None:
        """Says why the stream ends here, and takes what the client still sends for as long as it may need to read that.

        A connection that is closed with bytes unread is reset, and the last line could be lost with it.
        """
        problem = self._state.problem = problem_of(error)
        if problem.kind.status == 500:
            _log.error("a stream failed", request_id=self._state.request_id, exc_info=error)
        if writer.stalled or isinstance(error, ClientDisconnect):
            return
        last = orjson.dumps({"resume_at": self._state.items, "error": problem.body}, option=orjson.OPT_APPEND_NEWLINE)
        with contextlib.suppress(DeadlineExceededError, TimeoutError):
            await writer.write(last)
            async with asyncio.timeout(_LINGER_S):
                await arrived.wait()
