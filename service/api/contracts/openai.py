"""OpenAI's `POST /v1/embeddings` and `GET /v1/models`, with the ways to send images that others gave the former.

Those are data URIs as text (Infinity, with `modality`), objects (Jina), chat messages (vLLM) and content items
(Elasticsearch).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import AliasChoices, Field
from starlette.responses import Response

from service.api.contracts.answers import Numbers, answer, check_dimensions, error_answer, numbers
from service.api.contracts.bodies import ContractOptions, image_texts, receive_images
from service.api.contracts.schemas import IMAGE, IMAGES, Described, contract, errors
from service.api.documentation import EXAMPLES
from service.api.errors import Problem, RequestError
from service.api.exchange import Call
from service.api.json_items import type_name
from service.api.outputs import encode_rows, json_response
from service.api.problems import answers_errors
from service.api.repository import Repository
from service.engine.engine import Engine
from service.engine.results import Floats

__all__ = ["router"]

router = APIRouter(tags=["contracts"])

EmbeddingType = Numbers | Literal["base64"]


class OpenAIOptions(ContractOptions):
    """What OpenAI's contract can be asked for, and what Jina's and Infinity's add to it."""

    normalize: bool = Field(
        True,
        description="Scale every embedding to length 1. Jina's name for it is `normalized`.",
        validation_alias=AliasChoices("normalize", "normalized"),
    )
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: little-endian float32.")
    embedding_type: EmbeddingType | tuple[EmbeddingType] | None = Field(
        None, description="Jina's: the format of the numbers; base64 is that of `encoding_format`."
    )
    dimensions: int | None = Field(None, description="Those of the model, or nothing.")
    modality: Literal["image"] = Field("image", description="Infinity's.")

    @property
    def format(self) -> tuple[Numbers, Literal["float", "base64"]]:
        """The numbers, and how they are written."""
        given = self.embedding_type[0] if isinstance(self.embedding_type, tuple) else self.embedding_type
        if given is None:
            return "float", self.encoding_format
        return ("float", "base64") if given == "base64" else (given, "float")


class OpenAIEmbedding(Described):
    """One image's."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class OpenAIUsage(Described):
    """Zeros: images have no tokens."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(Described):
    """The answer of `POST /v1/embeddings`."""

    object: Literal["list"]
    model: str = Field(description="`name@version`")
    data: list[OpenAIEmbedding]
    usage: OpenAIUsage


class OpenAIModel(Described):
    """A model, by `name` (its newest version) or `name@version`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(Described):
    """The answer of `GET /v1/models`."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIErrorBody(Described):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(Described):
    """An error."""

    error: OpenAIErrorBody
    detail: str = Field(description="The message again, where Jina's clients look for it.")


_CODES = {"unknown-model": "model_not_found", "unauthorized": "invalid_api_key", "busy": "rate_limit_exceeded"}
_MESSAGES = {"type": "array", "items": {"type": "object"}, "description": "vLLM's: a conversation with one image."}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def write_error(_: Request, problem: Problem) -> Response:
    """An error in OpenAI's shape."""
    kind = problem.kind
    if kind.status == 429:
        error_type = "rate_limit_error"
    else:
        error_type = "server_error" if kind.status >= 500 else "invalid_request_error"
    named = "model" if kind.name == "unknown-model" else None
    error = {
        "message": problem.detail,
        "type": error_type,
        "param": named if problem.index is None else f"input[{problem.index}]",
        "code": _CODES.get(kind.name, kind.name.replace("-", "_")),
    }
    return error_answer(problem, {"error": error, "detail": problem.detail})


@router.post("/embeddings", include_in_schema=False)
@router.post(
    "/v1/embeddings",
    response_model=OpenAIEmbeddings,
    responses=errors(OpenAIError),
    openapi_extra=contract(
        OpenAIOptions,
        {"input": {"anyOf": [IMAGE, IMAGES]}, "messages": _MESSAGES},
        {"input": [f"data:image/png;base64,{EXAMPLES[0]}"], "encoding_format": "float"},
        one_of=True,
    ),
)
@answers_errors(write_error)
async def embeddings(request: Request) -> Response:
    """The embedding of each image, as OpenAI answers for texts; `/embeddings` is the same."""
    with await receive_images(request, OpenAIOptions, _find) as call:
        check_dimensions(call, "dimensions", call.options.dimensions)
        return await answer(call, lambda mean: _content(call, mean))


@router.get("/v1/models", response_model=OpenAIModels, responses=errors(OpenAIError, 500))
@answers_errors(write_error)
async def list_models(request: Request) -> Response:
    """What is loaded: the name of each model, and each of its versions."""
    repository: Repository = request.app.state.repository
    repository.check_loaded()
    engines = repository.engines
    names = dict.fromkeys(engine.manifest.name for engine in engines)
    ids = [*names, *(engine.manifest.reference for engine in engines)]
    return json_response({"object": "list", "data": [_model(name, repository.get(name)) for name in ids]})


@router.get(
    "/v1/models/{id}",
    response_model=OpenAIModel,
    responses=errors(OpenAIError, 404, 500),
    openapi_extra={"parameters": [_ID]},
)
@answers_errors(write_error)
async def show_model(request: Request) -> Response:
    """One model."""
    repository: Repository = request.app.state.repository
    name = request.path_params["id"]
    return json_response(_model(name, repository.get(name)))


def _find(content: dict[str, Any]) -> Sequence[object]:
    if "messages" not in content:
        return image_texts(content, "input")
    if "input" in content:
        raise RequestError("Expected either input or messages; found both.")
    parts: list[object] = []
    for message in image_texts(content, "messages"):
        if not isinstance(message, dict):
            raise RequestError(f"messages: expected objects with a content; found {type_name(message)}.")
        found = message.get("content")
        parts += found if isinstance(found, list) else [found]
    return [{"content": parts}]


def _content(call: Call[OpenAIOptions], mean: Floats) -> dict[str, Any]:
    kind, encoding = call.options.format
    found = numbers(mean, kind, normalize=call.options.normalize, spec=call.engine.manifest.embedding)
    data = [
        {"object": "embedding", "index": index, "embedding": row}
        for index, row in enumerate(encode_rows(found, encoding))
    ]
    return {
        "object": "list",
        "model": call.engine.manifest.reference,
        "data": data,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


def _model(name: str, engine: Engine) -> dict[str, Any]:
    created = int(datetime.fromisoformat(engine.manifest.created).timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "simvae"}
