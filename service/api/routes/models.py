"""`GET /models`, `GET /models/{name}`: what is loaded."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import ModelCard, ModelList, problems
from service.api.outputs import identity, json_response
from service.api.repository import Repository
from service.engine.engine import Engine
from service.engine.similarity import available_metrics

__all__ = ["router"]

router = APIRouter(tags=["models"])
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


@router.get("/models", response_model=ModelList, responses=problems())
async def list_models(request: Request) -> Response:
    """Every model and version that is loaded, with its manifest."""
    repository: Repository = request.app.state.repository
    repository.check_loaded()
    default = repository.default
    content = {
        "default": None if default is None else default.manifest.reference,
        "models": [_card(engine) for engine in repository.engines],
    }
    return json_response(content)


@router.get("/models/{name}", response_model=ModelCard, responses=problems(404), openapi_extra={"parameters": [_NAME]})
async def show_model(request: Request) -> Response:
    """One model, by `name` (its newest version) or `name@version`."""
    repository: Repository = request.app.state.repository
    return json_response(_card(repository.get(request.path_params["name"])))


def _card(engine: Engine) -> dict[str, Any]:
    manifest = engine.manifest
    return identity(engine) | {
        "reference": manifest.reference,
        "precision": engine.model.precision,
        "precisions": [graph.precision for graph in manifest.encoders],
        "provider": engine.model.provider,
        "metrics": available_metrics(manifest.embedding),
        "manifest": manifest.model_dump(mode="json"),
    }
