"""Cohere's `POST /v1/embed` and `/v2/embed`, for images: also what OpenSearch's connectors and Weaviate speak."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.api.contracts.answers import Numbers, answer, check_dimensions, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, image_texts, receive_images, refuse_texts
from service.api.contracts.schemas import IMAGES, Described, contract, errors
from service.api.documentation import EXAMPLES
from service.api.errors import Problem
from service.api.exchange import Call
from service.api.outputs import encode_rows
from service.api.problems import answers_errors
from service.engine.results import Floats

__all__ = ["router"]

router = APIRouter(tags=["contracts"])

Kind = Numbers | Literal["base64"]


class CohereOptions(ContractOptions):
    """What Cohere's contract can be asked for."""

    embedding_types: Annotated[tuple[Kind, ...], Field(min_length=1)] | None = Field(
        None, description="Number formats; one list of embeddings for each."
    )
    output_dimension: int | None = Field(None, description="That of the model, or nothing.")


class CohereTyped(Described):
    """Embeddings by the format of their numbers."""

    float_: list[list[float]] | None = Field(None, alias="float")
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class CohereEmbeddings(Described):
    """The answer of both versions; the first one gives a plain list where no types were asked for."""

    id: str
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
    embeddings: CohereTyped | list[list[float]]
    texts: list[str]
    meta: dict[str, Any]


class CohereError(Described):
    """An error."""

    id: str
    message: str


_BODY = {"images": IMAGES, "inputs": {"type": "array", "items": {"type": "object"}, "minItems": 1}}
_EXAMPLE = {
    "input_type": "image",
    "images": [f"data:image/png;base64,{EXAMPLES[0]}"],
    "embedding_types": ["float", "ubinary"],
}
_DESCRIBED: dict[str, Any] = {
    "response_model": CohereEmbeddings,
    "responses": errors(CohereError),
    "openapi_extra": contract(CohereOptions, _BODY, _EXAMPLE, one_of=True),
}


def write_error(request: Request, problem: Problem) -> Response:
    """An error in Cohere's shape."""
    return error_answer(problem, {"id": request.state.request_id, "message": problem.detail})


@router.post("/v1/embed", **_DESCRIBED)
@answers_errors(write_error)
async def embed_v1(request: Request) -> Response:
    """The embedding of each image; a plain list of floats, unless types are asked for."""
    return await _embed(request, 1)


@router.post("/v2/embed", **_DESCRIBED)
@answers_errors(write_error)
async def embed_v2(request: Request) -> Response:
    """The embedding of each image, by type."""
    return await _embed(request, 2)


async def _embed(request: Request, version: int) -> Response:
    with await receive_images(request, CohereOptions, _find) as call:
        check_dimensions(call, "output_dimension", call.options.output_dimension)
        return await answer(call, lambda mean: _content(call, mean, version))


def _find(content: dict[str, Any]) -> Sequence[object]:
    refuse_texts(content.get("texts"))
    return image_texts(content, "inputs" if content.get("images") is None and "inputs" in content else "images")


def _content(call: Call[CohereOptions], mean: Floats, version: int) -> dict[str, Any]:
    types = call.options.embedding_types or ("float",)
    typed = {kind: _rows(call, mean, kind) for kind in types}
    plain = version == 1 and call.options.embedding_types is None
    return {
        "id": call.request.state.request_id,
        "response_type": "embeddings_floats" if plain else "embeddings_by_type",
        "embeddings": typed["float"] if plain else typed,
        "texts": [],
        "meta": {"api_version": {"version": str(version)}, "billed_units": {"images": len(mean)}},
    }


def _rows(call: Call[CohereOptions], mean: Floats, kind: Kind) -> list[Any]:
    found = numbers(
        mean,
        "float" if kind == "base64" else kind,
        normalize=call.options.normalize,
        spec=call.engine.manifest.embedding,
    )
    return encode_rows(found, "base64" if kind == "base64" else "float")
