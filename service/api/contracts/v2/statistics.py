"""`GET /v2/models/stats`: what each model has done since it was loaded, in this process, for every contract.

`fashion` and `fashion_tensor` report the same, as their images share batches, with those of `POST /embed` too.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.contracts.v2.errors import write_error
from service.api.contracts.v2.models import ServedModel, find, served
from service.api.outputs import json_response
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.engine.statistics import Total

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/v2/models/stats")
@answers_errors(write_error)
async def all_statistics(request: Request) -> Response:
    """Of every model in every version."""
    repository: Repository = request.app.state.repository
    repository.check_loaded()
    return _answer(served(repository))


@router.get("/v2/models/{name}/stats")
@answers_errors(write_error)
async def model_statistics(request: Request) -> Response:
    """Of one model in every version."""
    repository: Repository = request.app.state.repository
    name = find(repository, request.path_params["name"], None).name
    return _answer(model for model in served(repository) if model.name == name)


@router.get("/v2/models/{name}/versions/{version}/stats")
@answers_errors(write_error)
async def version_statistics(request: Request) -> Response:
    """Of one model in one version."""
    repository: Repository = request.app.state.repository
    return _answer([find(repository, request.path_params["name"], request.path_params["version"])])


def _answer(models: Iterable[ServedModel]) -> Response:
    return json_response({"model_stats": [_entry(model) for model in models]})


def _entry(model: ServedModel) -> dict[str, Any]:
    counts = model.engine.statistics[model.task].counts()
    nothing, batches = _duration(Total()), sorted(counts.batches.items())
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": round(1000 * counts.last_run_at),
        "inference_count": sum(size * total.count for size, total in batches),
        "execution_count": sum(total.count for _, total in batches),
        "inference_stats": {
            "success": _duration(counts.succeeded),
            "fail": _duration(counts.failed),
            "queue": _duration(counts.queue),
            "compute_input": _duration(counts.decode),
            "compute_infer": _duration(counts.inference),
            "compute_output": nothing,  # a part of the batch
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": nothing,
                "compute_infer": _duration(total),
                "compute_output": nothing,
            }
            for size, total in batches
        ],
    }


def _duration(total: Total) -> dict[str, int]:
    return {"count": total.count, "ns": round(1e9 * total.seconds)}
