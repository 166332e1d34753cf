"""API keys: who may use the routes that cost something."""

import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.api.errors import UnauthorizedError

__all__ = ["check_key", "check_keys", "key_in_query", "require_key"]

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_bearer = HTTPBearer(auto_error=False, description="An API key, where the server was started with SIMVAE_API_KEY.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own.")
_other_header = APIKeyHeader(
    name="api-key", scheme_name="OtherKeyHeader", auto_error=False, description="The same, as Azure's clients send it."
)


async def require_key(
    request: Request,
    _from_bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _from_header: Annotated[str | None, Depends(_header)],
    _from_other_header: Annotated[str | None, Depends(_other_header)],
) -> None:
    """The dependency of routes with a key: documents the ways to send it, and checks it.

    Raises:
        UnauthorizedError: No key, or a wrong one.
    """
    check_key(request)


def check_key(request: Request) -> None:
    """Lets a request pass when the server has no keys, or the request carries one of them.

    Raises:
        UnauthorizedError: No key, or a wrong one.
    """
    check_keys(request, request.app.state.settings.api_keys)


def check_keys(request: Request, keys: Sequence[str]) -> None:
    """The same for a request that no application has taken yet, and these keys."""
    if not keys:
        return
    given = _given(request)
    if given is None:
        raise UnauthorizedError(
            "Expected an API key as 'Authorization: Bearer KEY', 'X-API-Key: KEY' or 'api-key: KEY'; found none."
        )
    # Every key is compared, so that the time taken tells nothing about which of them came close.
    matches = [secrets.compare_digest(given.encode(), key.encode()) for key in keys]
    if not any(matches):
        raise UnauthorizedError("The API key is not one that this server knows.")


def key_in_query(name: str) -> Callable[[EndpointT], EndpointT]:
    """Decorates the endpoint of a route whose clients know no other place for a key than a query parameter.

    Only there is it looked for: addresses end up in logs of proxies.
    """

    def decorate(endpoint: EndpointT) -> EndpointT:
        endpoint.key_parameter = name  # type: ignore[attr-defined]
        return endpoint

    return decorate


def _given(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials
    for name in ("x-api-key", "api-key"):
        if name in request.headers:
            return request.headers[name]
    parameter = getattr(getattr(request.scope.get("route"), "endpoint", None), "key_parameter", None)
    return None if parameter is None else request.query_params.get(parameter)
