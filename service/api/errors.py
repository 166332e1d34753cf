"""Everything that can go wrong: one table from exception to status.

Routes raise; nothing here knows them, nor the shape in which a contract tells a client. The text of an exception in
the table is written for the client; the text of any other exception is for the log only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.engine.errors import (
    DeadlineExceededError,
    InferenceError,
    NotReadyError,
    QueueFullError,
    RequestTooLargeError,
    SimilarityError,
)
from service.engine.images import ImageError, ImageTooLargeError, UndecodableImageError, UnsupportedFormatError
from service.search.errors import (
    ForeignVectorsError,
    InvalidSearchError,
    SearchOffError,
    StoreBusyError,
    StoreFailedError,
    UnknownCollectionError,
    UnknownItemError,
)

__all__ = [
    "TABLE",
    "ApiError",
    "BodyTimeoutError",
    "BodyTooLargeError",
    "BusyError",
    "ItemError",
    "NotAcceptableError",
    "Problem",
    "RequestError",
    "TooManyItemsError",
    "UnauthorizedError",
    "UnknownModelError",
    "UnprocessableError",
    "UnsupportedEncodingError",
    "UnsupportedMediaTypeError",
    "is_expected",
    "problem_of",
]


class ApiError(Exception):
    """A request that is refused before, or beside, the engine; the message is for the client."""


class RequestError(ApiError):
    """The request is malformed: JSON, base64, multipart, an option."""


class UnauthorizedError(ApiError):
    """No key, or a wrong one."""


class UnknownModelError(ApiError):
    """No such model is loaded."""


class NotAcceptableError(ApiError):
    """Nothing that the client accepts can be given."""


class BodyTimeoutError(ApiError):
    """The body did not arrive in time."""


class BodyTooLargeError(ApiError):
    """More bytes than one request may have."""


class TooManyItemsError(ApiError):
    """More items than one request may have."""


class UnsupportedMediaTypeError(ApiError):
    """A Content-Type that is none of the request forms."""


class UnsupportedEncodingError(ApiError):
    """A Content-Encoding that is not unpacked here."""


class UnprocessableError(ApiError):
    """Well-formed, but not what the model takes."""


class BusyError(ApiError):
    """No room at the moment."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ItemError(Exception):
    """What is wrong with one item of a request.

    Attributes:
        cause: The exception in the table.
        index: The item's place in its list, from 0.
        side: The list, where a request has two: `left` or `right`.
    """

    def __init__(self, cause: Exception, index: int, side: str | None = None) -> None:
        super().__init__(str(cause))
        self.cause, self.index, self.side = cause, index, side


@dataclass(frozen=True)
class Kind:
    """One row of the table: the status, and the name that `type` ends in."""

    status: int
    name: str
    title: str


TABLE: Mapping[type[Exception], Kind] = {
    RequestError: Kind(400, "malformed-request", "The request is malformed"),
    InvalidSearchError: Kind(400, "malformed-request", "The request is malformed"),
    UnauthorizedError: Kind(401, "unauthorized", "A valid API key is needed"),
    UnknownModelError: Kind(404, "unknown-model", "No such model is loaded"),
    UnknownCollectionError: Kind(404, "unknown-collection", "No such collection"),
    UnknownItemError: Kind(404, "unknown-item", "No such item in the collection"),
    NotAcceptableError: Kind(406, "not-acceptable", "No acceptable representation"),
    BodyTimeoutError: Kind(408, "body-timeout", "The body did not arrive in time"),
    ForeignVectorsError: Kind(409, "fingerprint-mismatch", "Vectors of another model"),
    BodyTooLargeError: Kind(413, "body-too-large", "The body has too many bytes"),
    TooManyItemsError: Kind(413, "too-many-items", "The request has too many items"),
    RequestTooLargeError: Kind(413, "request-too-large", "The request is larger than the queue"),
    ImageTooLargeError: Kind(413, "image-too-large", "The image has too many pixels"),
    UnsupportedMediaTypeError: Kind(415, "unsupported-media-type", "Not one of the request forms"),
    UnsupportedEncodingError: Kind(415, "unsupported-content-encoding", "Not a supported Content-Encoding"),
    UnsupportedFormatError: Kind(415, "unsupported-image-format", "Not a supported image format"),
    UndecodableImageError: Kind(422, "undecodable-image", "The image cannot be decoded"),
    ImageError: Kind(422, "undecodable-image", "The image cannot be decoded"),
    UnprocessableError: Kind(422, "unprocessable", "Not what the model takes"),
    SimilarityError: Kind(422, "similarity-undefined", "This similarity is not defined here"),
    BusyError: Kind(429, "busy", "The server is busy"),
    QueueFullError: Kind(429, "busy", "The server is busy"),
    StoreBusyError: Kind(429, "busy", "The server is busy"),
    ClientDisconnect: Kind(499, "client-gone", "The client went away"),
    InferenceError: Kind(500, "internal-error", "The server failed"),
    SearchOffError: Kind(501, "collections-off", "This server keeps no collections"),
    NotReadyError: Kind(503, "not-ready", "The server is not ready"),
    StoreFailedError: Kind(503, "store-failed", "The store of the collections failed"),
    DeadlineExceededError: Kind(504, "too-late", "The answer was not ready in time"),
}
"""Looked up along the exception's bases, nearest first; what is not in it is a 500."""

_INTERNAL = Kind(500, "internal-error", "The server failed")
_ROUTING = {
    404: Kind(404, "unknown-route", "No such route"),
    405: Kind(405, "method-not-allowed", "The route does not take this method"),
}
_NOT_READY_RETRY_S = 1


@dataclass(frozen=True)
class Problem:
    """An error as the client sees it."""

    kind: Kind
    detail: str
    headers: Mapping[str, str]
    index: int | None = None
    side: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The members that RFC 9457 names, but for `instance`."""
        kind = self.kind
        return {
            "type": f"urn:simvae:problem:{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
        }


def is_expected(error: Exception) -> bool:
    """Whether the table knows it; anything else is a bug, to be logged."""
    return isinstance(error, (HTTPException, ItemError, *TABLE))


def problem_of(error: Exception) -> Problem:
    """What a client is told of an exception; internals stay inside."""
    if isinstance(error, ItemError):
        inner = problem_of(error.cause)
        return Problem(inner.kind, inner.detail, inner.headers, error.index, error.side)
    if isinstance(error, HTTPException):
        kind = _ROUTING.get(error.status_code) or Kind(error.status_code, "http-error", str(error.detail))
        return Problem(kind, f"{kind.title}; /docs lists what there is.", error.headers or {})
    kind = next((TABLE[base] for base in type(error).__mro__ if base in TABLE), _INTERNAL)
    if kind.status == 500:
        return Problem(kind, "The server failed on this request; its log says why, under this request's id.", {})
    return Problem(kind, str(error) or kind.title, _headers(kind.status, error))


def _headers(status: int, error: Exception) -> dict[str, str]:
    match status:
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="simvae"'}
        case 415 if isinstance(error, UnsupportedEncodingError):
            return {"Accept-Encoding": "gzip, deflate, identity"}
        case 408:  # the rest of the body may still come: this connection cannot carry another request
            return {"Connection": "close"}
        case 429 | 503:
            retry_after_s = getattr(error, "retry_after_s", _NOT_READY_RETRY_S)
            return {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        case _:
            return {}
