"""`GET /health`, `/.well-known/ready` and `/.well-known/live`: health under the paths where TEI and Weaviate look."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import problems
from service.api.routes import health

__all__ = ["router"]

router = APIRouter(tags=["contracts"])


@router.head("/health", include_in_schema=False)
@router.get("/health", response_class=Response, responses=problems())
async def healthy(request: Request) -> Response:
    """What TEI calls healthy: ready."""
    await health.ready(request)
    return Response()


@router.get("/.well-known/ready", status_code=204, response_class=Response, responses=problems())
async def well_known_ready(request: Request) -> Response:
    """Ready, as Weaviate asks."""
    await health.ready(request)
    return Response(status_code=204)


@router.get("/.well-known/live", status_code=204, response_class=Response, responses=problems())
async def well_known_live(request: Request) -> Response:
    """Alive, as Weaviate asks."""
    await health.live(request)
    return Response(status_code=204)
