"""API keys: who may use the routes that cost something."""

import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.api.errors import UnauthorizedError

__all__ = ["check_key", "require_key"]

_bearer = HTTPBearer(auto_error=False, description="An API key, where the server was started with SIMVAE_API_KEY.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own.")


async def require_key(
    request: Request,
    _from_bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _from_header: Annotated[str | None, Depends(_header)],
) -> None:
    """The dependency of routes with a key: documents both ways to send it, and checks it.

    Raises:
        UnauthorizedError: No key, or a wrong one.
    """
    check_key(request)


def check_key(request: Request) -> None:
    """Lets a request pass when the server has no keys, or the request carries one of them.

    Raises:
        UnauthorizedError: No key, or a wrong one.
    """
    keys: tuple[str, ...] = request.app.state.settings.api_keys
    if not keys:
        return
    given = _given(request)
    if given is None:
        raise UnauthorizedError("Expected an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; found none.")
    # Every key is compared, so that the time taken tells nothing about which of them came close.
    matches = [secrets.compare_digest(given.encode(), key.encode()) for key in keys]
    if not any(matches):
        raise UnauthorizedError("The API key is not one that this server knows.")


def _given(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials
    return request.headers.get("x-api-key")
