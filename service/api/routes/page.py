"""`GET /`: the playground, a page of static files that asks this server and no other."""

import os
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.api.negotiation import HTML, JSON, preferred

__all__ = ["assets", "router"]

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parents[2] / "page"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for again each time, so that page and server never differ
}


class _Assets(StaticFiles):
    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


def assets() -> StaticFiles:
    """What the page loads, to be mounted at `/page`."""
    return _Assets(directory=_FOLDER)


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    """The page, for whatever shows pages; a client that wants JSON is led to the description of the API."""
    if preferred(request.headers.get("accept"), (HTML, JSON)) == JSON:
        return RedirectResponse("openapi.json")
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)
