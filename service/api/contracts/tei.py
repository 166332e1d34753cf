"""Text Embeddings Inference: `inputs` on `POST /embed` (and `/`), answered with a bare list; `GET /info`.

`/embed` is a native route as well. A JSON object with `inputs` and without `images` is this contract; every other body
is native, and so are refusals that come before the body was read.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.api.contracts.answers import answer, check_dimensions, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, asked, image_texts, receive_images
from service.api.contracts.schemas import IMAGE, IMAGES, Described, contract, errors
from service.api.errors import Problem
from service.api.exchange import Asked, Call
from service.api.json_items import load_object
from service.api.negotiation import JSON
from service.api.outputs import json_response
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.api.settings import Settings

__all__ = ["TeiOptions", "answer_tei", "or_tei_body", "or_tei_error", "router", "tei_aside"]

router = APIRouter(tags=["contracts"])


class TeiOptions(ContractOptions):
    """What TEI can be asked for."""

    dimensions: int | None = Field(None, description="Those of the model, or nothing.")


class TeiError(Described):
    """An error."""

    error: str
    error_type: Literal["Overloaded", "Unhealthy", "Backend", "Validation"]


class TeiPooling(Described):
    """How a vector comes about; the nearest word of TEI's for the mean of a posterior."""

    pooling: Literal["mean"]


class TeiModelType(Described):
    """What the model does."""

    embedding: TeiPooling


class TeiInfo(Described):
    """The answer of `GET /info`; where TEI counts tokens, one image counts as one."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: TeiModelType
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


def or_tei_body(operation: dict[str, Any]) -> dict[str, Any]:
    """Adds this contract's body to the documentation of `/embed`."""
    own = contract(TeiOptions, {"inputs": {"anyOf": [IMAGE, IMAGES]}}, {})["requestBody"]["content"][JSON]["schema"]
    described = operation["requestBody"]["content"][JSON]
    described["schema"] = {"anyOf": [described["schema"], own]}
    return operation


def or_tei_error(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Adds this contract's errors to the documentation of `/embed`."""
    own = {JSON: {"schema": {"$ref": "#/components/schemas/TeiError"}}}
    return {status: each | {"content": each["content"] | own} for status, each in responses.items()}


def write_error(_: Request, problem: Problem) -> Response:
    """An error in TEI's shape."""
    known = {429: "Overloaded", 503: "Unhealthy"}
    error_type = known.get(problem.kind.status, "Backend" if problem.kind.status >= 500 else "Validation")
    return error_answer(problem, {"error": problem.detail, "error_type": error_type})


def tei_aside(request: Request) -> Callable[[bytes], Asked[TeiOptions] | None]:
    """Reads a body of `/embed` that is in this contract, and has the request's errors written in its shape."""

    def read(body: bytes) -> Asked[TeiOptions] | None:
        if b'"inputs"' not in body:  # asked first, so that a native body is not parsed twice
            return None
        content = load_object(body, request.app.state.settings.max_items)
        if "inputs" not in content or "images" in content:
            return None
        request.state.write_problem = write_error
        return asked(request, content, TeiOptions, _find)

    return read


async def answer_tei(call: Call[TeiOptions]) -> Response:
    """A list of vectors, and nothing else."""
    check_dimensions(call, "dimensions", call.options.dimensions)
    normalize, spec = call.options.normalize, call.engine.manifest.embedding
    return await answer(call, lambda mean: list(numbers(mean, "float", normalize=normalize, spec=spec)))


@router.post("/", include_in_schema=False)
@answers_errors(write_error)
async def embed_at_root(request: Request) -> Response:
    """The same as `inputs` on `/embed`, for clients that are given the address of the server and nothing more."""
    with await receive_images(request, TeiOptions, _find) as call:
        return await answer_tei(call)


@router.get("/info", response_model=TeiInfo, responses=errors(TeiError, 400, 500))
@answers_errors(write_error)
async def info(request: Request) -> Response:
    """The default model, and the limits of a request."""
    repository: Repository = request.app.state.repository
    settings: Settings = request.app.state.settings
    engine = repository.get(None)
    return json_response(
        {
            "model_id": engine.manifest.reference,
            "model_sha": engine.fingerprint,
            "model_dtype": engine.model.precision,
            "model_type": {"embedding": {"pooling": "mean"}},
            "max_concurrent_requests": settings.queue_items,
            "max_input_length": 1,
            "max_batch_tokens": settings.max_batch,
            "max_client_batch_size": settings.max_items,
            "auto_truncate": False,
            "tokenization_workers": settings.decode_threads or 1,
            "version": version("simvae"),
            "sha": None,
            "docker_label": None,
        }
    )


def _find(content: dict[str, Any]) -> Sequence[object]:
    return image_texts(content, "inputs")
