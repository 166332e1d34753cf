"""Conversations with the service, free of I/O: generators that say what is to be done next and are told its outcome.

Both clients drive the same ones, each in its own way; whatever there is to decide is decided here.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from simvae_client.batches import Batch, Body, Place
from simvae_client.errors import (
    BadAnswerError,
    BadImageError,
    FingerprintError,
    ProblemError,
    TooLargeError,
    UnreachableError,
    problem_of,
)
from simvae_client.retries import Outcome, Retries

__all__ = ["Flow", "Part", "Question", "Send", "Step", "Wait", "Work", "ask", "ask_about", "ask_of_images"]

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send this and tell the answer, or httpx's exception."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Wait:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call this, which may read files, and tell what it returned."""

    call: Callable[[], Any]


Step: TypeAlias = Send | Wait | Work
Flow: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked, but for the body.

    Attributes:
        path: Of the URL.
        read: Understands the body and the headers of an answer that is a success.
        params: Of the query.
        accept: The media type of the answer.
        skip: Whether the service, and `ask_of_images`, go on without images that are bad.
        fingerprint: Of the model that must answer, if it matters.
        method: HTTP's.
    """

    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    skip: bool = False
    fingerprint: str | None = None
    method: str = "POST"


@dataclass(frozen=True)
class Part(Generic[T]):
    """What one request gave.

    Attributes:
        value: As the question reads it.
        body: What was sent.
        refused: Images that were too large to be sent at all, and why.
    """

    value: T
    body: Body
    refused: tuple[tuple[Place, str], ...] = ()


def ask(question: Question[T], body: Body | None, retries: Retries) -> Flow[T]:
    """Sends a question, as often as it may be sent.

    Raises:
        ProblemError: The service refuses, or fails.
        UnreachableError: There is no answer.
        FingerprintError: Another model answered.
        BadAnswerError: Another server did.
    """
    headers = {"Accept": question.accept}
    if body is not None:
        headers["Content-Type"] = body.content_type
    send = Send(question.method, question.path, question.params, headers, b"" if body is None else body.content)
    attempt = 0
    outcome: Outcome = yield send
    while (wait_s := retries.wait_s(attempt, outcome)) is not None:
        yield Wait(wait_s)
        attempt += 1
        outcome = yield send
    if isinstance(outcome, httpx.RequestError):
        raise UnreachableError(f"Expected an answer of {question.path}, found none: {outcome!r}.") from outcome
    if not outcome.is_success:
        raise problem_of(outcome)
    return _understood(question, outcome)


def ask_about(question: Question[T], write: Callable[[], Body], retries: Retries) -> Flow[T]:
    """Asks with a body that is still to be written; what that raises, and `ask`, comes out."""
    body: Body = yield Work(write)
    return (yield from ask(question, body, retries))


def ask_of_images(question: Question[T], batch: Batch, retries: Retries) -> Flow[list[Part[T]]]:
    """Asks about some images; in halves, and halves of those, where the service takes fewer at once.

    Raises:
        OSError: A file cannot be read, and bad images are not skipped.
        ProblemError: As `ask`; its `index` and `path` are those of the caller.
    """
    body: Body = yield Work(lambda: batch.body(skip=question.skip))
    try:
        return [Part((yield from ask(question, body, retries)), body)]
    except ProblemError as error:
        if isinstance(error, TooLargeError) and error.index is None:
            if len(batch) > 1:
                left, right = batch.halves()
                return (yield from ask_of_images(question, left, retries)) + (
                    yield from ask_of_images(question, right, retries)
                )
            if question.skip and len(batch) == 1:
                return (yield from _without(question, body, error, retries))
        raise _located(error, body) from None


def _without(question: Question[T], body: Body, error: ProblemError, retries: Retries) -> Flow[list[Part[T]]]:
    """The answer about no image at all, in place of one that is too large to be sent."""
    empty = Batch(body.places[0].index, []).body()
    value = yield from ask(question, empty, retries)
    return [Part(value, empty, ((body.places[0], error.detail),))]


def _located(error: ProblemError, body: Body) -> ProblemError:
    """With the place of the image that is to blame, or that is the only one that can be."""
    to_blame = isinstance(error, BadImageError | TooLargeError) and len(body.places) == 1
    index = 0 if error.index is None and to_blame else error.index
    return error if index is None else error.at(body.places[index])


def _understood(question: Question[T], answer: httpx.Response) -> T:
    found = answer.headers.get("X-Model-Fingerprint")
    if question.fingerprint is not None and found != question.fingerprint:
        raise FingerprintError(question.fingerprint, found or "none")
    try:
        return question.read(answer)
    except (ValueError, KeyError, TypeError) as error:
        text = f"Expected an answer of a SimVAE service to {question.path}, found another: {error!r}."
        raise BadAnswerError(text) from error
