"""`multipart/form-data`: files and text fields, in memory, where the limits count them.

A container's root may be read-only, so nothing is spooled to a disk.
"""

from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from service.api.errors import RequestError, TooManyItemsError

__all__ = ["Part", "PartsReader"]

_MOST_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Part:
    """One field.

    Attributes:
        name: Of the field.
        content: Its bytes.
        filename: Of a file, as browsers and curl give to files only.
    """

    name: str
    content: bytes
    filename: str | None

    @property
    def is_file(self) -> bool:
        """Whether it has a file's name."""
        return self.filename is not None

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


class PartsReader:
    """Reads a form piece by piece.

    Args:
        content_type: The header, with its boundary.
        max_parts: The most fields.

    Attributes:
        parts: The fields that are complete.

    Raises:
        RequestError: The header names no boundary.
    """

    def __init__(self, content_type: str, max_parts: int) -> None:
        self.parts: list[Part] = []
        self._max_parts = max_parts
        self._parser = PushMultipartParser(_boundary(content_type), max_segment_count=max_parts)
        self._segment: MultipartSegment | None = None
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Takes the next bytes of the body.

        Raises:
            RequestError: The form is malformed.
            TooManyItemsError: It has more than `max_parts` fields.
        """
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    if not event.name:
                        raise RequestError("The multipart body is malformed: a field has no name.")
                    self._segment, self._pieces = event, []
                elif event is not None:
                    self._pieces.append(bytes(event))
                elif self._segment is not None:
                    self.parts.append(Part(self._segment.name, b"".join(self._pieces), self._segment.filename))
        except ParserLimitReached as error:
            if len(self.parts) < self._max_parts:
                raise RequestError(f"The multipart body is malformed: {error}.") from error
            text = "The form has more parts than are accepted; send several requests."
            raise TooManyItemsError(text) from error
        except MultipartError as error:
            raise RequestError(f"The multipart body is malformed: {error}.") from error

    def close(self) -> None:
        """Raises RequestError when more should have come."""
        try:
            self._parser.close()
        except MultipartError as error:
            text = "The multipart body is malformed: it is cut off before its closing boundary."
            raise RequestError(text) from error


def _boundary(content_type: str) -> str:
    boundary: str | None = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        raise RequestError("The multipart body is malformed: its Content-Type names no boundary.")
    return boundary
