"""What a client is told of an exception: RFC 9457 problems, or the shape that another contract gives its errors."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import Problem, problem_of

__all__ = ["PROBLEM_TYPE", "ProblemWriter", "answers_errors", "problem_response", "write_problem"]

PROBLEM_TYPE = "application/problem+json"

ProblemWriter = Callable[[Request, Problem], Response]
"""Makes the answer to a problem, in the shape that a contract gives its errors."""

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])


def problem_response(request: Request, error: Exception) -> Response:
    """The answer to an exception, in the shape of the contract that the request speaks."""
    problem = problem_of(error)
    request.state.problem = problem
    return _writer_of(request)(request, problem)


def answers_errors(writer: ProblemWriter) -> Callable[[EndpointT], EndpointT]:
    """Decorates the endpoint of a route whose contract has a shape of errors of its own."""

    def decorate(endpoint: EndpointT) -> EndpointT:
        endpoint.write_problem = writer  # type: ignore[attr-defined]
        return endpoint

    return decorate


def _writer_of(request: Request) -> ProblemWriter:
    """That of the route; or, where the body decides which contract it is, the one left in `state.write_problem`."""
    endpoint = getattr(request.scope.get("route"), "endpoint", None)
    writer: ProblemWriter = getattr(endpoint, "write_problem", write_problem)
    chosen: ProblemWriter = request.scope["state"].get("write_problem", writer)
    return chosen


def write_problem(request: Request, problem: Problem) -> Response:
    """RFC 9457."""
    body = problem.body | {"instance": f"urn:simvae:request:{request.state.request_id}"}
    body |= {} if problem.index is None else {"index": problem.index}
    body |= {} if problem.side is None else {"side": problem.side}
    return Response(orjson.dumps(body), problem.kind.status, dict(problem.headers), PROBLEM_TYPE)
