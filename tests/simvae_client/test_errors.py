"""Every problem that the service knows has a name in the client, and an answer of somebody else's has one too."""

import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.api.errors import TABLE
from simvae_client import (
    BadAnswerError,
    BadImageError,
    BusyError,
    ClientError,
    FingerprintError,
    NotReadyError,
    ProblemError,
    ServerError,
    TooLargeError,
    TooLateError,
    UnauthorizedError,
    UnknownModelError,
)
from simvae_client.batches import Place
from simvae_client.errors import problem_of

Ask = Callable[..., Any]

EXPECTED: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    404: UnknownModelError,
    413: TooLargeError,
    429: BusyError,
    500: ServerError,
    503: NotReadyError,
    504: TooLateError,
}
IMAGES = {"unsupported-image-format", "undecodable-image"}
COLLECTIONS = {"unknown-collection", "unknown-item", "store-failed"}  # of routes that this package does not ask


@pytest.mark.parametrize("kind", {kind.name: kind for kind in TABLE.values()}.values(), ids=lambda kind: kind.name)
def test_every_problem_of_the_service_is_the_exception_of_its_meaning(kind: Any) -> None:
    members = {"type": f"urn:simvae:problem:{kind.name}", "status": kind.status, "detail": "A sentence.", "index": 3}
    error = problem_of(httpx.Response(kind.status, json=members))
    expected = ProblemError if kind.name in COLLECTIONS else EXPECTED.get(kind.status, ProblemError)
    assert type(error) is (BadImageError if kind.name in IMAGES else expected)
    assert (error.kind, error.status, error.detail, error.index) == (kind.name, kind.status, "A sentence.", 3)
    assert str(error) == "image 3: A sentence."


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, UnauthorizedError), (403, ProblemError), (413, TooLargeError), (502, ServerError), (504, TooLateError)],
)
@pytest.mark.parametrize("content", [b"<h1>gateway</h1>", b'"gateway"', b'{"message": "gateway"}'])
def test_an_answer_of_a_proxy_is_told_as_it_is(status: int, expected: type[ProblemError], content: bytes) -> None:
    error = problem_of(httpx.Response(status, content=content))
    assert type(error) is expected
    assert str(status) in str(error)
    assert "gateway" in str(error)


@pytest.mark.parametrize("status", [200, 204])
def test_a_success_that_is_not_the_services_is_an_error(peer: Any, ask: Ask, png: bytes, status: int) -> None:
    for content in (b"", b"hello", b"[]") if status == 200 else (b"",):
        for method, arguments in (("models", ()), ("embed", ([png],)), ("reconstruct", ([png],))):
            peer.will_answer(status, content)
            with pytest.raises(BadAnswerError, match="answer of a SimVAE service"):
                ask(peer.url, method, *arguments)


def test_errors_survive_a_trip_between_processes() -> None:
    problem = problem_of(httpx.Response(422, json={"type": "urn:simvae:problem:undecodable-image", "detail": "Bad."}))
    for error in (problem.at(Place(7, "a.png")), FingerprintError("one", "other")):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert isinstance(again, ClientError)
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_an_unknown_model_is_told(address: str, ask: Ask, png: bytes) -> None:
    with pytest.raises(UnknownModelError, match="nothing"):
        ask(address, "embed", [png], model="nothing")
