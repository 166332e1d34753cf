"""What a client learns of the server and its models: metadata, configurations, and the index of the repository."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.contracts.v2.errors import write_error
from service.api.contracts.v2.models import ServedModel, TensorSpec, find, served, versions
from service.api.errors import RequestError
from service.api.outputs import json_response
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.api.routes import health

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
_EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "schedule_policy", "statistics")
_PLATFORM, _BACKEND = "onnxruntime_onnx", "onnxruntime"
_CONFIG_TYPES = {"BYTES": "TYPE_STRING", "UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32"}


@router.get("/v2")
@answers_errors(write_error)
async def server(_: Request) -> Response:
    """The server and the extensions of the protocol that it speaks."""
    return json_response({"name": "simvae", "version": version("simvae"), "extensions": _EXTENSIONS})


@router.get("/v2/models/{name}")
@router.get("/v2/models/{name}/versions/{version}")
@answers_errors(write_error)
async def model(request: Request) -> Response:
    """The tensors of a model; -1 is the axis of the batch."""
    found = _asked(request)
    content = {
        "name": found.name,
        "versions": versions(request.app.state.repository, found),
        "platform": _PLATFORM,
        "inputs": [_described(found.input)],
        "outputs": [_described(spec) for spec in found.outputs],
    }
    return json_response(content)


@router.get("/v2/models/{name}/config")
@router.get("/v2/models/{name}/versions/{version}/config")
@answers_errors(write_error)
async def config(request: Request) -> Response:
    """The same as Triton's model configuration says it, without the axis of the batch."""
    found = _asked(request)
    content = {
        "name": found.name,
        "platform": _PLATFORM,
        "backend": _BACKEND,
        "max_batch_size": request.app.state.settings.max_items,
        "input": [_configured(found.input)],
        "output": [_configured(spec) for spec in found.outputs],
        "dynamic_batching": {"priority_levels": 2, "default_priority_level": 1},
        "parameters": {"fingerprint": {"string_value": found.engine.fingerprint}},
    }
    return json_response(content)


@router.post("/v2/repository/index")
@answers_errors(write_error)
async def index(request: Request) -> Response:
    """Every model in every version. All of them are ready, or the server is not and says so instead."""
    await health.ready(request)
    repository: Repository = request.app.state.repository
    entries = [
        {"name": each.name, "version": each.version, "state": "READY", "reason": ""} for each in served(repository)
    ]
    return json_response(entries)


@router.post("/v2/repository/models/{name}/{action}")
@answers_errors(write_error)
async def control(request: Request) -> Response:
    """Refuses: what is served is decided where the server is started."""
    raise RequestError(
        f"{request.path_params['action'][:20]!r} is not possible here: models are loaded when the server starts. Put "
        "the bundle into its folder of models, or take it out, and start the server again."
    )


@router.api_route("/v2/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
@answers_errors(write_error)
async def elsewhere(_: Request) -> Response:
    """Whatever else is asked for under /v2 is not there, and said so in the protocol's shape."""
    raise HTTPException(404)


def _asked(request: Request) -> ServedModel:
    repository: Repository = request.app.state.repository
    return find(repository, request.path_params["name"], request.path_params.get("version"))


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": (-1, *spec.shape)}


def _configured(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": _CONFIG_TYPES[spec.datatype], "dims": spec.shape}
