"""What can go wrong, by name; what the service says of it comes from its problem documents (RFC 9457)."""

import json
from collections.abc import Mapping
from typing import Any, Self

import httpx

from simvae_client.batches import Place

__all__ = [
    "BadAnswerError",
    "BadImageError",
    "BusyError",
    "ClientError",
    "FingerprintError",
    "NotReadyError",
    "ProblemError",
    "ServerError",
    "TooLargeError",
    "TooLateError",
    "UnauthorizedError",
    "UnknownModelError",
    "UnreachableError",
    "problem_of",
]

_MOST_TEXT = 300
_PREFIX = "urn:simvae:problem:"


class ClientError(Exception):
    """Whatever this package raises but for bad arguments and files that cannot be read."""


class UnreachableError(ClientError):
    """No connection, or none that lasted until the answer; its cause is httpx's exception."""


class BadAnswerError(ClientError):
    """An answer that is not of this service, or of another version of it."""


class FingerprintError(ClientError):
    """Vectors of another model, or version, or precision, than those they would have been mixed with.

    Attributes:
        expected: The fingerprint that was asked for, or of the vectors that are there.
        found: The other one.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected, self.found = expected, found

    def __str__(self) -> str:
        return (
            f"Expected vectors of fingerprint {self.expected}, found {self.found}: the model is another one, or was "
            "changed. Vectors of both cannot be compared; embed the images of one side again."
        )


class ProblemError(ClientError):
    """The service refused or failed, and says why.

    Attributes:
        status: HTTP's number.
        kind: What `type` ends in, such as `malformed-request`; empty if it was no problem document.
        detail: A sentence.
        index: The image that is to blame, among those that the caller gave.
        path: That image's, where it has one.
        side: Its list, `left` or `right`, where there are two.
        instance: Names the request in the service's log.
    """

    def __init__(self, status: int, members: Mapping[str, Any]) -> None:
        super().__init__(status, members)
        self.status = status
        self.kind = _kind_of(members)
        self.detail = str(members.get("detail", ""))
        self.instance: str | None = members.get("instance")
        self.index: int | None = members.get("index")
        self.side: str | None = members.get("side")
        self.path: str | None = None

    def __str__(self) -> str:
        where = self.path or ("" if self.index is None else f"image {self.index}")
        place = " ".join(filter(None, (self.side, where)))
        return f"{place}: {self.detail}" if place else self.detail

    def at(self, place: Place) -> Self:
        """The same, of an image in what the caller gave."""
        self.index, self.path = place.index, place.name
        return self


class UnauthorizedError(ProblemError):
    """No API key, or a wrong one."""


class UnknownModelError(ProblemError):
    """No such model is loaded."""


class BadImageError(ProblemError):
    """An image that cannot be decoded; `index` and `path` say which."""


class TooLargeError(ProblemError):
    """An image has too many bytes or pixels, or a request too many items."""


class BusyError(ProblemError):
    """No room, however often it was tried."""


class NotReadyError(ProblemError):
    """Still loading, or ending, however often it was tried."""


class TooLateError(ProblemError):
    """The service had no answer in time."""


class ServerError(ProblemError):
    """The service failed; `instance` leads to the reason in its log."""


_BY_KIND: Mapping[str, type[ProblemError]] = {
    "unauthorized": UnauthorizedError,
    "unknown-model": UnknownModelError,
    "body-too-large": TooLargeError,
    "image-too-large": TooLargeError,
    "too-many-items": TooLargeError,
    "request-too-large": TooLargeError,
    "unsupported-image-format": BadImageError,
    "undecodable-image": BadImageError,
    "busy": BusyError,
    "internal-error": ServerError,
    "not-ready": NotReadyError,
    "too-late": TooLateError,
}
_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: UnauthorizedError,
    413: TooLargeError,
    429: BusyError,
    503: NotReadyError,
    504: TooLateError,
}
"""For answers that are no problem documents: a proxy's, for example."""


def problem_of(answer: httpx.Response) -> ProblemError:
    """The exception for an answer that is not a success, whoever gave it."""
    status = answer.status_code
    try:
        members = json.loads(answer.content)
    except ValueError:
        members = None
    if not isinstance(members, dict) or "detail" not in members:
        members = {"detail": f"{status} {answer.reason_phrase}: {answer.text[:_MOST_TEXT]}".rstrip(": ")}
        default = ServerError if status >= 500 else ProblemError
        return _BY_STATUS.get(status, default)(status, members)
    return _BY_KIND.get(_kind_of(members), ProblemError)(status, members)


def _kind_of(members: Mapping[str, Any]) -> str:
    """What the type of a problem ends in."""
    return str(members.get("type", "")).removeprefix(_PREFIX)
