"""Embeds every image of a folder, chunk by chunk: while one is written, the next is on its way."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.embed_files import Writer
from service.engine.engine import Embedding, Embeddings, Engine, Ticket
from service.engine.errors import InferenceError
from service.engine.images import ImageError

__all__ = ["Skipped", "embed_folder"]

_IN_FLIGHT = 2


@dataclass(frozen=True)
class Skipped:
    """A file that could not be embedded, relative to the folder, and why."""

    path: str
    reason: str


def embed_folder(
    engine: Engine,
    folder: Path,
    paths: Sequence[str],
    writer: Writer,
    *,
    normalize: bool = False,
    progress: Callable[[int, list[Skipped]], None],
) -> list[Skipped]:
    """Embeds files and writes a row for each that can be; memory does not grow with their number.

    Args:
        engine: Its runtime must have room for three times its largest batch.
        folder: Where the paths start.
        paths: Relative to the folder, in the order of the rows.
        writer: Gets the rows.
        normalize: Whether to scale embeddings to length 1, and variances with them; zero stays zero.
        progress: Told after each chunk how many files it had, and which of them were skipped.

    Returns:
        What was skipped, in order.

    Raises:
        EngineError: The engine itself failed, not one file.
    """
    size = engine.runtime.max_batch
    flying: deque[tuple[Sequence[str], Ticket[Embedding]]] = deque()
    skipped: list[Skipped] = []
    starts = iter(range(0, len(paths), size))
    while True:
        while len(flying) < _IN_FLIGHT and (start := next(starts, None)) is not None:
            chunk = paths[start : start + size]
            flying.append((chunk, engine.submit([folder / path for path in chunk], "embed")))
        if not flying:
            return skipped
        chunk, ticket = flying.popleft()
        kept, rows, bad = _sort_out(chunk, ticket)
        embeddings = Embeddings.stack(rows, engine.manifest.embedding.dim)
        writer.write(kept, _normalized(embeddings) if normalize else embeddings)
        skipped += bad
        progress(len(chunk), bad)


def _sort_out(chunk: Sequence[str], ticket: Ticket[Embedding]) -> tuple[list[str], list[Embedding], list[Skipped]]:
    kept: list[str] = []
    rows: list[Embedding] = []
    bad: list[Skipped] = []
    for path, outcome in zip(chunk, ticket.future.result(), strict=True):
        if isinstance(outcome, ImageError | InferenceError):
            bad.append(Skipped(path, str(outcome)))
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            kept.append(path)
            rows.append(outcome)
    return kept, rows, bad


def _normalized(embeddings: Embeddings) -> Embeddings:
    length = np.linalg.norm(embeddings.mean, axis=1, keepdims=True)
    scale = (1 / np.where(length > 0, length, 1)).astype(np.float32)
    return Embeddings(embeddings.mean * scale, embeddings.variance * scale**2)
