"""`POST /reconstruct`: what the model thinks it saw."""

import base64
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import EXAMPLES, Reconstructions, binary, operation, problems
from service.api.exchange import Call, Outcomes, receive_call
from service.api.negotiation import JSON, PNG, preferred, preferred_but_png
from service.api.options import ReconstructOptions
from service.api.outputs import Answer, identity, json_answer
from service.api.threads import off_loop
from service.engine.images import encode_png
from service.engine.results import Reconstruction

__all__ = ["router"]

router = APIRouter(tags=["images"])
_IMAGES = {"images": {"type": "array", "items": {"type": "string", "description": "Base64, or a data URI."}}}
_OK = {"content": {PNG: binary("The reconstruction of the one image that was sent.")}}


@router.post(
    "/reconstruct",
    response_model=Reconstructions,
    responses={**problems(400, 404, 406, 408, 413, 415, 422, 429, 500, 504), 200: _OK},
    openapi_extra=operation(ReconstructOptions, _IMAGES, {"images": [EXAMPLES[0]]}),
)
async def reconstruct(request: Request) -> Response:
    """Each image decoded from its embedding, how far it is from the image, and how typical that is."""
    accept = request.headers.get("accept")
    media_type = preferred(accept, (JSON, PNG))
    with await receive_call(request, ReconstructOptions, ("images",)) as call:
        count = len(call.lists["images"])
        if media_type == PNG and count != 1:
            media_type = preferred_but_png(accept, (JSON,), f"{count} images")
        on_error = "fail" if media_type == PNG else call.options.on_error
        outcomes = await call.run_all("reconstruct", on_error)
        render = _png if media_type == PNG else _json
        size_bytes = 4 * count * call.engine.manifest.input.height * call.engine.manifest.input.width
        return await off_loop(size_bytes, lambda: render(call, outcomes))


def _json(call: Call[ReconstructOptions], outcomes: Outcomes[Reconstruction]) -> Response:
    reconstructions = [None if result is None else _entry(result) for result in outcomes.results]
    content = identity(call.engine) | {"reconstructions": reconstructions, "errors": outcomes.errors}
    return json_answer(content, call.engine, outcomes.timings)


def _entry(result: Reconstruction) -> dict[str, Any]:
    image = base64.b64encode(encode_png(result.pixels)).decode()
    return {"image": image, "squared_error": result.squared_error, "typicality": result.typicality}


def _png(call: Call[ReconstructOptions], outcomes: Outcomes[Reconstruction]) -> Response:
    (result,) = outcomes.results
    assert result is not None  # noqa: S101 - a PNG is never asked for with on_error skip
    headers = {"X-Squared-Error": repr(result.squared_error), "X-Typicality": repr(result.typicality)}
    return Answer(encode_png(result.pixels), PNG, call.engine, outcomes.timings, headers)
