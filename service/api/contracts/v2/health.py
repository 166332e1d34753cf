"""`GET /v2/health/live`, `/v2/health/ready`, `/v2/models/{name}/ready`: what orchestrators ask, without a key."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.contracts.v2.errors import write_error
from service.api.contracts.v2.models import find
from service.api.outputs import json_response
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.api.routes import health

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/v2/health/live")
@answers_errors(write_error)
async def live(request: Request) -> Response:
    """As `/health/live`."""
    await health.live(request)
    return json_response({"live": True})


@router.get("/v2/health/ready")
@answers_errors(write_error)
async def ready(request: Request) -> Response:
    """As `/health/ready`."""
    await health.ready(request)
    return json_response({"ready": True})


@router.get("/v2/models/{name}/ready")
@router.get("/v2/models/{name}/versions/{version}/ready")
@answers_errors(write_error)
async def model_ready(request: Request) -> Response:
    """Whether the model is there and its server is ready."""
    await health.ready(request)
    repository: Repository = request.app.state.repository
    model = find(repository, request.path_params["name"], request.path_params.get("version"))
    return json_response({"name": model.name, "ready": True})
