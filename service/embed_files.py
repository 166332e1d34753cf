"""The files of `simvae-embed`: which images a folder holds, and where their embeddings are written, row by row.

A result appears under its name only when it is complete; until then it grows under a temporary one.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from service.engine.engine import Embedding, Embeddings, Engine
from service.engine.formats import IMAGE_SUFFIXES

__all__ = ["NpyWriter", "ParquetWriter", "Writer", "find_images", "open_writer"]


def find_images(folder: Path) -> list[str]:
    """Lists the images below a folder, by suffix, sorted; hidden ones are left out. Paths are relative, with slashes.

    Raises:
        OSError: The folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[str] = []
    for root, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            (Path(root) / name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


class Writer(Protocol):
    """Takes rows in order."""

    def write(self, paths: Sequence[str], rows: Embeddings) -> None:
        """Appends rows; `paths` says what each is of."""

    def finish(self) -> None:
        """Completes the files, so that they can be renamed."""


@contextlib.contextmanager
def open_writer(out: Path, engine: Engine, *, variance: bool) -> Iterator[Writer]:
    """Opens what the suffix of `out` asks for: `.npy` with a `.jsonl` beside it, or `.parquet`.

    The files get their names when the block ends; when it raises, they vanish.

    Raises:
        ValueError: Another suffix.
        ModuleNotFoundError: Parquet without pyarrow.
    """
    if out.suffix not in {".npy", ".parquet"}:
        raise ValueError(f"Expected an output that ends in .npy or .parquet, found {out.name}.")
    # The .npy is renamed last: where it stands, all of it stands.
    finals = [out] if out.suffix == ".parquet" else [out.with_suffix(".jsonl"), out]
    parts = [final.with_name(f".{final.name}.part") for final in finals]
    try:
        with contextlib.ExitStack() as stack:
            writer: Writer
            if out.suffix == ".parquet":
                writer = ParquetWriter(stack, parts[0], engine, variance=variance)
            else:
                lines = stack.enter_context(parts[0].open("w", encoding="ascii"))
                array = stack.enter_context(parts[1].open("wb"))
                writer = NpyWriter(array, lines, engine.manifest.embedding.dim, variance=variance)
            yield writer
            writer.finish()
        for part, final in zip(parts, finals, strict=True):
            part.replace(final)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


class NpyWriter:
    """A float32 array of shape [N, D], and one JSON line per row that says which file it is of."""

    def __init__(self, array: IO[bytes], lines: IO[str], dim: int, *, variance: bool) -> None:
        self._array, self._lines, self._dim, self._variance = array, lines, dim, variance
        self._rows = 0
        self._write_header()

    def write(self, paths: Sequence[str], rows: Embeddings) -> None:
        """Appends rows."""
        self._array.write(rows.mean.astype("<f4").tobytes())
        for path, row in zip(paths, rows, strict=True):
            self._lines.write(json.dumps(self._line(path, row)) + "\n")
            self._rows += 1

    def finish(self) -> None:
        """Writes the number of rows, which numpy's header leaves room for, over the one at the start."""
        self._array.seek(0)
        self._write_header()

    def _line(self, path: str, row: Embedding) -> dict[str, object]:
        line: dict[str, object] = {"row": self._rows, "path": path}
        return line | {"variance": row.variance.tolist()} if self._variance else line

    def _write_header(self) -> None:
        shape = (self._rows, self._dim)
        header = {"descr": np.dtype("<f4").str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._array, header)


class ParquetWriter:
    """Columns `path`, `embedding` and, if wanted, `variance`; the model and its fingerprint stand in the metadata."""

    def __init__(self, stack: contextlib.ExitStack, file: Path, engine: Engine, *, variance: bool) -> None:
        # pyarrow is an extra that only this writer needs
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._pa, self._variance = pa, variance
        self._vector = pa.list_(pa.float32(), engine.manifest.embedding.dim)
        columns = [("path", pa.string()), ("embedding", self._vector)]
        if variance:
            columns.append(("variance", self._vector))
        about = {"model": engine.manifest.reference, "fingerprint": engine.fingerprint}
        self._schema = pa.schema(columns, metadata=about)
        self._file = stack.enter_context(pq.ParquetWriter(file, self._schema))

    def write(self, paths: Sequence[str], rows: Embeddings) -> None:
        """Appends rows."""
        vectors = [rows.mean, rows.variance] if self._variance else [rows.mean]
        names = [os.fsencode(path).decode("utf-8", "replace") for path in paths]
        arrays = [self._pa.FixedSizeListArray.from_arrays(each.ravel(), type=self._vector) for each in vectors]
        self._file.write_table(self._pa.Table.from_arrays([self._pa.array(names), *arrays], schema=self._schema))

    def finish(self) -> None:
        """Nothing: closing the file writes its footer."""
