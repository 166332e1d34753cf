"""Roboflow's `POST /clip/embed_image`, which Chroma's `RoboflowEmbeddingFunction` asks."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.api.auth import key_in_query
from service.api.contracts.answers import answer, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, image_texts, receive_images
from service.api.contracts.schemas import Described, contract, errors
from service.api.documentation import EXAMPLES
from service.api.errors import Problem
from service.api.problems import answers_errors

__all__ = ["router"]

router = APIRouter(tags=["contracts"])


class RoboflowOptions(ContractOptions):
    """What Roboflow's server can be asked for."""

    normalize: bool = Field(False, description="Scale every embedding to length 1.")


class RoboflowEmbeddings(Described):
    """The answer of `POST /clip/embed_image`."""

    embeddings: list[list[float]]


class RoboflowError(Described):
    """An error."""

    message: str


_IMAGE = {
    "type": "object",
    "required": ["value"],
    "properties": {"type": {"const": "base64"}, "value": {"type": "string"}},
}


def write_error(_: Request, problem: Problem) -> Response:
    """An error in Roboflow's shape."""
    return error_answer(problem, {"message": problem.detail})


@router.post(
    "/clip/embed_image",
    response_model=RoboflowEmbeddings,
    responses=errors(RoboflowError),
    openapi_extra=contract(
        RoboflowOptions,
        {"image": {"anyOf": [_IMAGE, {"type": "array", "items": _IMAGE, "minItems": 1}]}},
        {"image": {"type": "base64", "value": EXAMPLES[0]}},
    ),
)
@key_in_query("api_key")
@answers_errors(write_error)
async def embed_image(request: Request) -> Response:
    """The embedding of one image, or of each in a list; a key may be in the query, as `api_key`."""
    with await receive_images(request, RoboflowOptions, lambda content: image_texts(content, "image")) as call:
        normalize, spec = call.options.normalize, call.engine.manifest.embedding

        def write(mean: Any) -> dict[str, Any]:
            return {"embeddings": list(numbers(mean, "float", normalize=normalize, spec=spec))}

        return await answer(call, write)
