"""The short way to the routes that carry the load: from the server to the route's function, past the framework.

FastAPI's routing, dependencies and exit stacks cost more than decoding a small image. These routes use none of them:
they read the body themselves and answer with bytes. They are registered with FastAPI like all others, which documents
them, and whatever is not a POST to their path goes its usual way.
"""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth import check_key
from service.api.requests import IndexedRequest

__all__ = ["Direct"]


class Direct:
    """ASGI middleware, inside of one that answers exceptions (`observe`).

    Args:
        app: Takes every other request.
        routes: Those for POST alone go this way. Their functions take a request and nothing else, and need a key where
            the server has one.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        found = [route for route in routes if isinstance(route, APIRoute) and route.methods == {"POST"}]
        self._exact = {route.path: route for route in found if not route.param_convertors}
        self._templates = [route for route in found if route.param_convertors]

    def route(self, path: str) -> APIRoute:
        """The route of a path."""
        return self._exact[path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs one request."""
        route = self._route(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = IndexedRequest(scope, receive)
        check_key(request)
        response: Response = await route.endpoint(request)
        await response(scope, receive, send)

    def _route(self, scope: Scope) -> APIRoute | None:
        if found := self._exact.get(scope["path"]):
            return found
        for route in self._templates:
            if match := route.path_regex.match(scope["path"]):
                scope["path_params"] = match.groupdict()  # texts, as these routes take no other parameters
                return route
        return None
