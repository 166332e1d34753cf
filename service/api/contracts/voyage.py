"""Voyage's `POST /v1/multimodalembeddings`, for one image in each input."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import AliasChoices, Field
from starlette.responses import Response

from service.api.contracts.answers import Numbers, answer, check_dimensions, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, image_texts, receive_images
from service.api.contracts.schemas import Described, contract, errors
from service.api.documentation import EXAMPLES
from service.api.errors import Problem
from service.api.exchange import Call
from service.api.outputs import encode_rows
from service.api.problems import answers_errors
from service.engine.results import Floats

__all__ = ["router"]

router = APIRouter(tags=["contracts"])


class VoyageOptions(ContractOptions):
    """What Voyage's contract can be asked for."""

    output_dimension: int | None = Field(None, description="That of the model, or nothing.")
    output_dtype: Numbers = Field("float", description="The format of the numbers.")
    output_encoding: Literal["base64"] | None = Field(
        None,
        description="base64: little-endian. Voyage's own clients call it `encoding_format`.",
        validation_alias=AliasChoices("output_encoding", "encoding_format"),
    )


class VoyageEmbedding(Described):
    """One image's."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class VoyageUsage(Described):
    """Zeros: nothing here is billed."""

    text_tokens: int
    image_pixels: int
    video_pixels: int
    total_tokens: int


class VoyageEmbeddings(Described):
    """The answer of `POST /v1/multimodalembeddings`."""

    object: Literal["list"]
    data: list[VoyageEmbedding]
    model: str = Field(description="`name@version`")
    usage: VoyageUsage


class VoyageError(Described):
    """An error."""

    detail: str


_INPUT = {
    "type": "object",
    "required": ["content"],
    "properties": {"content": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
}
_IMAGE = {"type": "image_base64", "image_base64": f"data:image/png;base64,{EXAMPLES[0]}"}


def write_error(_: Request, problem: Problem) -> Response:
    """An error in Voyage's shape."""
    return error_answer(problem, {"detail": problem.detail})


@router.post(
    "/v1/multimodalembeddings",
    response_model=VoyageEmbeddings,
    responses=errors(VoyageError),
    openapi_extra=contract(
        VoyageOptions,
        {"inputs": {"type": "array", "items": _INPUT, "minItems": 1}},
        {"inputs": [{"content": [_IMAGE]}], "input_type": "document"},
    ),
)
@answers_errors(write_error)
async def multimodal_embeddings(request: Request) -> Response:
    """The embedding of each input, which is one image."""
    with await receive_images(request, VoyageOptions, lambda content: image_texts(content, "inputs")) as call:
        check_dimensions(call, "output_dimension", call.options.output_dimension)
        return await answer(call, lambda mean: _content(call, mean))


def _content(call: Call[VoyageOptions], mean: Floats) -> dict[str, Any]:
    options, spec = call.options, call.engine.manifest.embedding
    found = numbers(mean, options.output_dtype, normalize=options.normalize, spec=spec)
    rows = encode_rows(found, options.output_encoding or "float")
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": call.engine.manifest.reference,
        "usage": dict.fromkeys(("text_tokens", "image_pixels", "video_pixels", "total_tokens"), 0),
    }
