"""What `/docs` and `/openapi.json` say: bodies, answers and problems of the routes, with examples that can be pasted.

Only documentation: requests and answers are not validated by these models, the tests check that they agree.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from service.api.limits import TIMEOUT_HEADER
from service.api.options import Options
from service.api.problems import PROBLEM_TYPE
from service.engine.bundle import Precision

__all__ = [
    "DESCRIPTION",
    "EXAMPLES",
    "Decoded",
    "Embeddings",
    "Health",
    "ModelCard",
    "ModelList",
    "Problem",
    "Reconstructions",
    "Similarities",
    "Skipped",
    "binary",
    "describe_problems",
    "operation",
    "problems",
]

DESCRIPTION = """\
Image embeddings, reconstructions and similarities from SimVAE models.

The routes of images take an image as the raw body (`image/*`), files as `multipart/form-data`, base64 or data URIs in
`application/json`, or a uint8 batch of the model's own shape as `application/x-npy`. Options are JSON fields, form
fields or query parameters. Bodies may be packed: `Content-Encoding: gzip` or `deflate`. Errors are RFC 9457 problems.

The routes under *contracts* are those of other embedding servers, for clients that know them; their errors have the
shape that those clients expect.
"""

EXAMPLES = (  # two grey 8 × 8 gradients as PNG
    (
        "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAMElEQVR42i3GIRIAIBACQHQIBALhgsH/v9MgmxaoBRYoSRJB2bYJyknyMzPN"
        "Obu5DzfpAkiJlUQsAAAAAElFTkSuQmCC"
    ),
    (
        "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAPklEQVR42i3FsQ3AIBAEwbU5WV/EV0AF9F8RAcHLOiEHeJKB35U+Wo9HN9tt"
        "nF/lnMKFMoRLKIVrCSWuFeIDYOEYuONm99MAAAAASUVORK5CYII="
    ),
)

_PROBLEMS = {
    400: "Malformed: JSON, base64, multipart, `.npy`, or an option",
    401: "No API key, or a wrong one",
    404: "No such model, collection or item",
    406: "Accept excludes every representation",
    408: "The body did not arrive in time",
    409: "Vectors of another model than the collection's",
    413: "Too many bytes, pixels or items",
    415: "Not a request form, not an image format, or not a Content-Encoding that is unpacked",
    422: "An image that cannot be decoded, or not what the model takes",
    429: "Busy; Retry-After says for how many seconds",
    500: "The server failed",
    501: "This server keeps no collections",
    503: "Not ready: loading, draining or broken",
    504: "The answer was not ready in time",
}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_mode_override="serialization")


class Problem(_Document):
    """RFC 9457."""

    type: str = Field(examples=["urn:simvae:problem:undecodable-image"])
    title: str
    status: int
    detail: str = Field(description="One sentence for the person who sent the request.")
    instance: str = Field(description="Ends in the request's id.")
    index: int | None = Field(None, description="The item that is to blame, from 0.")
    side: str | None = Field(None, description="The list it is in, `left` or `right`.")


class Skipped(_Document):
    """A bad image that was skipped."""

    index: int
    detail: str


class _Answer(_Document):
    model: str
    version: int
    fingerprint: str = Field(description="Changes whenever something that changes a vector does.")


class Embeddings(_Answer):
    """The answer of `POST /embed`."""

    dim: int = Field(description="Dimensions of the latent space.")
    scale: float | None = Field(None, description="Only for int8: value ≈ integer × scale.")
    embeddings: list[list[float] | str | None]
    variances: list[list[float] | str | None] | None = Field(None, description="Only with `variance`.")
    errors: list[Skipped]


class OneReconstruction(_Document):
    """What the model saw in one image."""

    image: str = Field(description="A PNG in base64.")
    squared_error: float = Field(description="Mean over pixels, in [0, 1] units.")
    typicality: float = Field(description="The share of held-out images that reconstruct worse.")


class Reconstructions(_Answer):
    """The answer of `POST /reconstruct`."""

    reconstructions: list[OneReconstruction | None]
    errors: list[Skipped]


class Decoded(_Answer):
    """The answer of `POST /decode`."""

    images: list[str] = Field(description="A PNG in base64 for each latent.")


class Similarities(_Answer):
    """The answer of `POST /similarity`."""

    similarity: dict[str, list[list[float] | float]] = Field(
        description="For each metric the matrix left × right, or one list for pairs."
    )


class ModelCard(_Answer):
    """A model that is loaded."""

    reference: str = Field(description="`name@version`")
    precision: Precision = Field(description="Of the encoder that is in use.")
    precisions: list[Precision] = Field(description="Of the encoders that the bundle has.")
    provider: str = Field(description="What runs it, in the words of ONNX Runtime.")
    metrics: list[str] = Field(description="What `POST /similarity` can compute with it.")
    manifest: dict[str, Any]


class ModelList(_Document):
    """What is loaded."""

    default: str | None = Field(description="The model of requests that name none.")
    models: list[ModelCard]


class Health(_Document):
    """The state of the server: loading, ready or draining."""

    state: str


def describe_problems(app: FastAPI) -> None:
    """Puts the schema of problems into the app's OpenAPI document, where `problems` refers to it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def binary(description: str) -> dict[str, Any]:
    """The documentation of a body of bytes."""
    return {"schema": {"type": "string", "format": "binary", "description": description}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of errors; those that any route may give are always in it."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in sorted({*statuses, 401, 503})}


def operation(
    options: type[Options],
    items: dict[str, Any],
    example: dict[str, Any],
    forms: dict[str, Any] | None = None,
    *,
    images: bool = True,
) -> dict[str, Any]:
    """The body and the parameters of a POST route.

    Args:
        options: What the route may be asked for.
        items: The JSON schema of each list; the first one is needed.
        example: A JSON body.
        forms: Further bodies, by media type.
        images: Whether the items are images, in all their forms.
    """
    schema = options.model_json_schema()["properties"]
    first = next(iter(items))
    files = {name: {"type": "array", "items": {"type": "string", "format": "binary"}} for name in items}
    body = {"type": "object", "required": [first], "additionalProperties": False}
    content = {"application/json": {"schema": {**body, "properties": items | schema}, "example": example}}
    if images:
        content |= {
            "multipart/form-data": {"schema": {**body, "properties": files | schema}},
            "image/*": binary("One image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF."),
            "application/x-npy": binary("uint8 of shape [N, height, width, channels], or [N, height, width] for grey."),
        }
    content |= forms or {}
    query = [{"name": name, "in": "query", "required": False, "schema": each} for name, each in schema.items()]
    return {"requestBody": {"required": True, "content": content}, "parameters": [*query, _TIMEOUT]}


_TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds that you are ready to wait, from the arrival of the request; the server's limit holds too.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
