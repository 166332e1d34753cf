"""The protocol's shape of errors: one member, `error`, and any status but 200."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import Problem
from service.api.negotiation import JSON

__all__ = ["write_error"]


def write_error(_: Request, problem: Problem) -> Response:
    """Says what is wrong, and with which item of the batch."""
    where = "" if problem.index is None else f"Item {problem.index}: "
    content = orjson.dumps({"error": f"{where}{problem.detail}"})
    return Response(content, problem.kind.status, dict(problem.headers), JSON)
