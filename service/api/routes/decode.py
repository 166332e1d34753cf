"""`POST /decode`: latents to images, the way that `/embed` goes back."""

import base64

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.documentation import Decoded, binary, operation, problems
from service.api.exchange import Call
from service.api.json_items import GivenEmbedding
from service.api.latents import receive_latents
from service.api.negotiation import JSON, NPY, PNG, preferred, preferred_but_png
from service.api.npy import write_npy
from service.api.options import Options
from service.api.outputs import Answer, identity, json_answer
from service.api.threads import off_loop
from service.engine.images import Pixels, encode_png
from service.engine.ticket import Timings

__all__ = ["router"]

router = APIRouter(tags=["images"])
_LATENTS = {"latents": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}}
_EXAMPLE = {"latents": [[0.0] * 64]}  # the mean of the prior, for a model of 64 dimensions as the one that is shipped
_OK = {
    "content": {
        PNG: binary("The image of the one latent that was sent."),
        NPY: binary("uint8 of shape [N, height, width, channels]."),
    }
}


@router.post(
    "/decode",
    response_model=Decoded,
    responses={**problems(400, 404, 406, 408, 413, 415, 422, 429, 500, 504), 200: _OK},
    openapi_extra=operation(Options, _LATENTS, _EXAMPLE, {NPY: binary("float32 of shape [N, D].")}, images=False),
)
async def decode(request: Request) -> Response:
    """The image of each latent: an embedding, a point between two of them, or a sample of the prior."""
    accept = request.headers.get("accept")
    media_type = preferred(accept, (JSON, PNG, NPY))
    with await receive_latents(request) as call:
        latents = [item.mean for item in call.lists["latents"] if isinstance(item, GivenEmbedding)]
        if media_type == PNG and len(latents) != 1:
            media_type = preferred_but_png(accept, (JSON, NPY), f"{len(latents)} latents")
        outcomes, timings = await call.run(latents, "decode")
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                raise call.item_error(outcome, index)
        pixels = np.array(outcomes, np.uint8).reshape(-1, *call.engine.manifest.input.shape)
        return await off_loop(4 * pixels.nbytes, lambda: _answer(call, pixels, media_type, timings))


def _answer(call: Call[Options], pixels: Pixels, media_type: str, timings: Timings) -> Response:
    engine = call.engine
    if media_type == NPY:
        return Answer(write_npy(pixels), NPY, engine, timings)
    files = [encode_png(each) for each in pixels]
    if media_type == PNG:
        return Answer(files[0], PNG, engine, timings)
    images = [base64.b64encode(file).decode() for file in files]
    return json_answer(identity(engine) | {"images": images}, engine, timings)
