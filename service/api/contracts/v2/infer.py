"""`POST /v2/models/{name}/infer`: the route that carries the load."""

import dataclasses
import math
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from service.api.contracts.v2.errors import write_error
from service.api.contracts.v2.models import ServedModel, find
from service.api.contracts.v2.request import ITEMS, InferOptions, json_length, read_request
from service.api.contracts.v2.response import packing_of, write_response
from service.api.exchange import Asked, Call, receive
from service.api.json_items import GivenEmbedding
from service.api.limits import Body, Deadline
from service.api.outputs import pack
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.api.threads import off_loop
from service.engine.results import Embeddings
from service.engine.ticket import Timings

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.post("/v2/models/{name}/infer")
@router.post("/v2/models/{name}/versions/{version}/infer")
@answers_errors(write_error)
async def infer(request: Request) -> Response:
    """Answers one batch; no Content-Type is needed, and none is looked at."""
    repository: Repository = request.app.state.repository
    model = find(repository, request.path_params["name"], request.path_params.get("version"))
    max_items = request.app.state.settings.max_items
    length, packing = json_length(request.headers), packing_of(request.headers)

    async def read(body: Body) -> Asked[InferOptions]:
        content = await body.read()
        return await off_loop(len(content), lambda: read_request(content, length, model, max_items))

    with _in_time(await receive(request, read)) as call:
        results, timings = await _run(call, model)
        values = sum(math.prod(wanted.spec.shape) for wanted in call.options.outputs) * len(results)
        return await off_loop(
            4 * values,
            lambda: write_response(model, call.options, _tensors(model, call.options, results), timings, packing),
        )


def _in_time(call: Call[InferOptions]) -> Call[InferOptions]:
    """The call with the deadline of its own parameters, where that is sooner."""
    if call.options.timeout_s is None:
        return call
    at = call.request.state.arrived + call.options.timeout_s
    return dataclasses.replace(call, deadline=Deadline(min(at, call.deadline.at)))


async def _run(call: Call[InferOptions], model: ServedModel) -> tuple[list[Any], Timings]:
    items = [item.mean if isinstance(item, GivenEmbedding) else item for item in call.lists[ITEMS]]
    outcomes, timings = await call.run(items, model.task)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Exception):
            raise call.item_error(outcome, index)
    return outcomes, timings


def _tensors(model: ServedModel, options: InferOptions, results: list[Any]) -> dict[str, NDArray[Any]]:
    manifest = model.engine.manifest
    if model.task == "decode":
        return {"pixels": np.array(results, np.uint8).reshape(-1, *manifest.input.shape)}
    found = Embeddings.stack(results, manifest.embedding.dim)
    mean = pack(found.mean, "float32", normalize=options.normalize, spec=manifest.embedding).rows
    return {"embedding": mean, "variance": found.variance}
