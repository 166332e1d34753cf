"""`GET /health/live`, `/health/ready` and `/metrics`: what orchestrators and Prometheus ask."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.api.auth import require_key
from service.api.documentation import Health, problems
from service.api.metrics import CONTENT_TYPE_LATEST
from service.api.outputs import json_response
from service.api.repository import Repository
from service.engine.errors import NotReadyError

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", response_model=Health, responses=problems())
async def live(request: Request) -> Response:
    """Whether the process is worth keeping: its event loop answers and its inference threads live."""
    repository: Repository = request.app.state.repository
    if repository.state == "failed":
        raise NotReadyError("The models could not be loaded, or an inference thread has died; restart the service.")
    return json_response({"state": repository.state})


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", response_model=Health, responses=problems())
async def ready(request: Request) -> Response:
    """Whether requests should be sent here: models are loaded and warm, and the end has not begun."""
    repository: Repository = request.app.state.repository
    if repository.state != "ready":
        raise NotReadyError(f"The service is not ready: {repository.state}.")
    return json_response({"state": repository.state})


@router.get(
    "/metrics",
    dependencies=[Depends(require_key)],
    responses={**problems(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Counters and histograms in the text format of Prometheus."""
    repository: Repository = request.app.state.repository
    return Response(repository.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
