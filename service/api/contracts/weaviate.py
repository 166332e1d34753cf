"""The inference servers of Weaviate's modules: img2vec-neural (`/vectors`), multi2vec-clip (`/vectorize`); `/meta`.

Neither module can send a key or name a model, and img2vec-neural sends no Content-Type.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.api.contracts.answers import answer, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, image_texts, receive_images, refuse_texts
from service.api.contracts.schemas import IMAGE, Described, contract, errors
from service.api.documentation import EXAMPLES
from service.api.errors import Problem
from service.api.outputs import identity, json_response
from service.api.problems import answers_errors
from service.api.repository import Repository

__all__ = ["router"]

router = APIRouter(tags=["contracts"])


class WeaviateOptions(ContractOptions):
    """What either module's server can be asked for."""

    normalize: bool = Field(False, description="Scale every embedding to length 1.")


class Img2VecOptions(WeaviateOptions):
    """What img2vec-neural's server can be asked for."""

    id: str = Field("", description="Comes back as it was sent.")


class Img2VecVector(Described):
    """The answer of `POST /vectors`."""

    id: str
    vector: list[float]
    dim: int


class ClipVectors(Described):
    """The answer of `POST /vectorize`."""

    text_vectors: list[list[float]] = Field(alias="textVectors", description="Empty: there are no texts.")
    image_vectors: list[list[float]] = Field(alias="imageVectors")
    error: str = Field(description="Empty.")


class WeaviateError(Described):
    """An error."""

    error: str


class WeaviateMeta(Described):
    """The answer of `GET /meta`: the default model."""

    model: str
    version: int
    fingerprint: str


def write_error(_: Request, problem: Problem) -> Response:
    """An error in the shape of Weaviate's servers, whose client reads nothing that is not JSON."""
    return error_answer(problem, {"error": problem.detail})


@router.post(
    "/vectors",
    response_model=Img2VecVector,
    responses=errors(WeaviateError),
    openapi_extra=contract(Img2VecOptions, {"image": IMAGE}, {"id": "1", "image": EXAMPLES[0]}),
)
@answers_errors(write_error)
async def vectors(request: Request) -> Response:
    """The embedding of one image, for img2vec-neural."""
    with await receive_images(request, Img2VecOptions, _find_one) as call:
        options, spec = call.options, call.engine.manifest.embedding

        def write(mean: Any) -> dict[str, Any]:
            rows = numbers(mean, "float", normalize=options.normalize, spec=spec)
            return {"id": options.id, "vector": rows[0], "dim": spec.dim}

        return await answer(call, write)


@router.post(
    "/vectorize",
    response_model=ClipVectors,
    responses=errors(WeaviateError),
    openapi_extra=contract(
        WeaviateOptions, {"images": {"type": "array", "items": IMAGE}}, {"texts": [], "images": [EXAMPLES[0]]}
    ),
)
@answers_errors(write_error)
async def vectorize(request: Request) -> Response:
    """The embedding of each image, for multi2vec-clip; texts are refused."""
    with await receive_images(request, WeaviateOptions, _find_any) as call:
        normalize, spec = call.options.normalize, call.engine.manifest.embedding

        def write(mean: Any) -> dict[str, Any]:
            rows = list(numbers(mean, "float", normalize=normalize, spec=spec))
            return {"textVectors": [], "imageVectors": rows, "error": ""}

        return await answer(call, write)


@router.get("/meta", response_model=WeaviateMeta, responses=errors(WeaviateError, 400, 500))
@answers_errors(write_error)
async def meta(request: Request) -> Response:
    """The default model, which Weaviate shows among its modules."""
    repository: Repository = request.app.state.repository
    return json_response(identity(repository.get(None)))


def _find_one(content: dict[str, Any]) -> Sequence[object]:
    return [content.get("image")]


def _find_any(content: dict[str, Any]) -> Sequence[object]:
    refuse_texts(content.get("texts"))
    return image_texts(content, "images") if content.get("images") else []
