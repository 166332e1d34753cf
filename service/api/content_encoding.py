"""Compressed request bodies, unpacked while they arrive, in pieces of a bounded size.

Limits are for whoever takes the pieces: whoever stops taking them stops the unpacking.
"""

import functools
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Literal

from starlette.datastructures import Headers

from service.api.errors import RequestError, UnsupportedEncodingError
from service.api.threads import off_loop

__all__ = ["Coding", "coding_of", "unpacked"]

Coding = Literal["identity", "gzip", "deflate"]

_CODINGS: dict[str, Coding] = {"identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_PIECE_BYTES = 128 * 1024
_SLICE_BYTES = 16 * 1024  # zlib copies what it has not consumed yet, once for every piece
_GZIP, _ZLIB, _RAW = 31, 15, -15


def coding_of(headers: Headers) -> Coding:
    """How the body is packed.

    Raises:
        UnsupportedEncodingError: An unknown coding, or several of them, one over the other.
    """
    given = ",".join(headers.getlist("content-encoding"))
    names = [name.strip().lower() for name in given.split(",") if name.strip()] or ["identity"]
    if len(names) > 1 or names[0] not in _CODINGS:
        raise UnsupportedEncodingError(
            f"Expected Content-Encoding {', '.join(_CODINGS)}, and one alone; found {given[:100]!r}."
        )
    return _CODINGS[names[0]]


async def unpacked(chunks: AsyncIterator[bytes], coding: Coding) -> AsyncGenerator[bytes]:
    """The body as it was before it was packed; an empty one is empty under every coding.

    Args:
        chunks: The body as it arrives.
        coding: gzip may have several members, one after the other; deflate is taken with or without its zlib wrapping.

    Yields:
        Pieces of at most 128 KiB; as they are under `identity`.

    Raises:
        RequestError: The body is damaged, cut off, or goes on after its end.
    """
    if coding == "identity":
        async for chunk in chunks:
            yield chunk
        return
    unpacker = _Unpacker(coding)
    async for chunk in chunks:
        pieces, cost_bytes = unpacker.feed(chunk), len(chunk)
        while piece := await off_loop(cost_bytes, functools.partial(next, pieces, b"")):
            cost_bytes += len(piece)
            yield piece
    unpacker.close()


class _Unpacker:
    """The state between two chunks."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._member: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What so many more bytes give; none of the pieces is empty.

        Raises:
            RequestError: They do not fit what came before.
        """
        for start in range(0, len(data), _SLICE_BYTES):
            yield from self._unpack(data[start : start + _SLICE_BYTES])

    def close(self) -> None:
        """Raises RequestError when more should have come."""
        if self._member is not None and not self._member.eof:
            raise RequestError(f"The body is cut off: its {self._coding} stream has no end.")

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            member = self._member = self._member_for(data)
            try:
                piece = member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise RequestError(
                    f"The body is not the {self._coding} that Content-Encoding says: {error}."
                ) from error
            data = member.unused_data if member.eof else member.unconsumed_tail
            full = len(piece) == _PIECE_BYTES and not member.eof  # zlib may hold output though it took all input
            if piece:
                yield piece

    def _member_for(self, data: bytes) -> "zlib._Decompress":
        """The one that is open; a new one at the start, and after the end of one of gzip."""
        member = self._member
        if member is not None and not member.eof:
            return member
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        if member is not None:
            raise RequestError("The body goes on after the end of its deflate stream.")
        # 8 in the low bits is zlib's method. Raw deflate never starts so: it would be a stored block, padded with a 1.
        return zlib.decompressobj(_ZLIB if data[0] & 0x0F == 8 else _RAW)
