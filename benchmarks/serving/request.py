"""One HTTP request as it goes over the wire, and what became of it. Knows neither sockets nor time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BROKEN", "GAVE_UP", "OK", "Answer", "Request", "http_request"]

OK = 200
BROKEN = 0
"""In place of a status: the connection failed, or ended before the answer did."""
GAVE_UP = -1
"""In place of a status: the client's patience ended, and it hung up."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a client sends.

    Attributes:
        kind: Its name in tables.
        content: Head and body.
        images: That it holds.
        expected: Statuses that are right.
        patience_s: From sending until the client hangs up.
    """

    kind: str
    content: bytes
    images: int = 1
    expected: frozenset[int] = frozenset({OK})
    patience_s: float = 60.0


class Answer(NamedTuple):
    """What became of a request; moments are in seconds of one clock.

    Attributes:
        request: Which.
        status: Of HTTP, or `BROKEN` or `GAVE_UP`.
        due_s: When it was to be sent.
        sent_s: When it was sent.
        done_s: When the last byte of its answer arrived, or the wait for it ended.
        retry_after_s: The header `Retry-After`, if there was one.
    """

    request: Request
    status: int
    due_s: float
    sent_s: float
    done_s: float
    retry_after_s: float | None


def http_request(path: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> bytes:
    """Head and body; `Content-Length` is that of the body, unless a header says otherwise or the body is chunked."""
    length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
    fields = {"Host": "127.0.0.1", **length, **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body
