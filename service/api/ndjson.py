"""NDJSON, one JSON object a line: a body cut into lines while it arrives, and what a line says.

Knows neither models nor answers.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from service.api.errors import ApiError, BodyTooLargeError, RequestError
from service.api.json_items import decode_base64, load_object, type_name
from service.api.limits import BodyShare

__all__ = ["Line", "LineId", "parse_line", "read_lines"]

LineId = str | int | float
_BLANKS = b" \t\r"
_MAX_ID_CHARACTERS = 1024


@dataclass(frozen=True, eq=False)
class Line:
    """What one line says.

    Attributes:
        image: An encoded image, or why there is none.
        id: The client's own name for it.
    """

    image: bytes | ApiError
    id: LineId | None = None


async def read_lines(
    chunks: AsyncIterator[bytes], share: BodyShare, max_bytes: int
) -> AsyncGenerator[bytes | BodyTooLargeError]:
    r"""Cuts a body at `\n`; blank lines are left out, and the last line needs no end.

    Args:
        chunks: The body as it arrives.
        share: Grows by each line while it arrives, waiting for room; whoever takes a line gives its length back.
        max_bytes: The longest line; of a longer one nothing is kept.

    Yields:
        Lines, without their `\n`; in place of one that is too long, an error.
    """
    line = _Partial(share, max_bytes)
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            await line.add(end)
            if whole := line.take():
                yield whole
        await line.add(rest)
    if whole := line.take():
        yield whole


def parse_line(text: bytes) -> Line:
    """Reads one line; what is wrong with it is part of the result, beside the id if that could be read."""
    try:
        fields = load_object(text, 1, "line")
        name = _check_id(fields.pop("id", None))
    except ApiError as error:
        return Line(error)
    try:
        return Line(_image(fields), name)
    except ApiError as error:
        return Line(error, name)


def _check_id(value: object) -> LineId | None:
    plain = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
    if not plain or (isinstance(value, float) and not math.isfinite(value)):
        raise RequestError(f"id: expected a string or a number; found {type_name(value)}.")
    if isinstance(value, str) and len(value) > _MAX_ID_CHARACTERS:
        raise RequestError(f"id: expected at most {_MAX_ID_CHARACTERS:,} characters; found {len(value):,}.")
    return value  # type: ignore[return-value]  # one of the types that were just checked


def _image(fields: dict[str, object]) -> bytes:
    unknown = sorted(fields.keys() - {"image"})
    if unknown:
        raise RequestError(
            f"Unknown field {unknown[0][:100]!r}; a line has 'image' and perhaps 'id', and options are in the query."
        )
    image = fields.get("image")
    if not isinstance(image, str):
        found = type_name(image) if "image" in fields else "nothing"
        raise RequestError(f"image: expected base64 or a data URI; found {found}.")
    return decode_base64(image)


class _Partial:
    """A line, as much of it as has arrived."""

    def __init__(self, share: BodyShare, max_bytes: int) -> None:
        self._share, self._max_bytes = share, max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    async def add(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._size <= self._max_bytes:
            await self._share.grow_when_free(len(part))
            self._parts.append(part)
        elif self._parts:
            self._share.shrink(self._size - len(part))
            self._parts.clear()

    def take(self) -> bytes | BodyTooLargeError | None:
        """The line, and the beginning of another; nothing for a blank one."""
        line, size = b"".join(self._parts), self._size
        self._parts, self._size = [], 0
        if size > self._max_bytes:
            return BodyTooLargeError(f"The line has {size:,} bytes; at most {self._max_bytes:,} are accepted.")
        if line.strip(_BLANKS):
            return line
        self._share.shrink(size)
        return None
