"""`multipart/form-data`: files and text fields, in memory, where the limits count them.

A container's root may be read-only, so nothing is spooled to a disk.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from service.api.errors import RequestError, TooManyItemsError

__all__ = ["Part", "read_parts"]

_MOST_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Part:
    """One field.

    Attributes:
        name: Of the field.
        content: Its bytes.
        is_file: Whether it has a file's name, as browsers and curl give to files only.
    """

    name: str
    content: bytes
    is_file: bool

    @property
    def text(self) -> str:
        """The content of a field that is no file.

        Raises:
            RequestError: It is too long for an option, or no UTF-8.
        """
        if len(self.content) > _MOST_TEXT_BYTES:
            raise RequestError(f"{self.name}: expected an option's value, found {len(self.content):,} bytes.")
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise RequestError(f"{self.name}: expected text in UTF-8, found other bytes.") from error


async def read_parts(content_type: str, stream: AsyncGenerator[bytes], max_parts: int) -> list[Part]:
    """Reads a form.

    Args:
        content_type: The header, with its boundary.
        stream: The body.
        max_parts: The most fields.

    Raises:
        RequestError: It is malformed, or cut off.
        TooManyItemsError: More than `max_parts`.
    """
    parts: list[Part] = []
    segment, pieces = None, list[bytes]()
    try:
        parser = PushMultipartParser(_boundary(content_type), max_segment_count=max_parts)
        async for chunk in stream:
            for event in parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    if not event.name:
                        raise RequestError("The multipart body is malformed: a field has no name.")
                    segment, pieces = event, []
                elif event is not None:
                    pieces.append(bytes(event))
                elif segment is not None:
                    parts.append(Part(segment.name, b"".join(pieces), segment.filename is not None))
    except ParserLimitReached as error:
        if len(parts) < max_parts:
            raise RequestError(f"The multipart body is malformed: {error}.") from error
        text = "The form has more parts than are accepted; send several requests."
        raise TooManyItemsError(text) from error
    except MultipartError as error:
        raise RequestError(f"The multipart body is malformed: {error}.") from error
    try:
        parser.close()
    except MultipartError as error:
        raise RequestError("The multipart body is malformed: it is cut off before its closing boundary.") from error
    return parts


def _boundary(content_type: str) -> str:
    boundary: str | None = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        raise RequestError("The multipart body is malformed: its Content-Type names no boundary.")
    return boundary
