"""`GET /docs`: a page to try the API in a browser, with its script and style, so it needs no CDN."""

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

__all__ = ["assets", "router"]

router = APIRouter(include_in_schema=False)


def assets() -> StaticFiles:
    """What the page loads, to be mounted at `/docs`."""
    return StaticFiles(packages=[("fastapi_offline", "static")])


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI; its addresses are relative, so that the service can stand behind any path of a proxy."""
    return get_swagger_ui_html(
        title="SimVAE",
        openapi_url="openapi.json",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )
