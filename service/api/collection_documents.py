"""What `/docs` and `/openapi.json` say of collections; see `documentation`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.collection_options import AddOptions, SearchOptions
from service.api.documentation import EXAMPLES, Skipped, operation

__all__ = [
    "ADD",
    "COLLECTION",
    "ITEM",
    "SEARCH",
    "AddedItems",
    "CollectionCard",
    "CollectionList",
    "Found",
    "StoredItem",
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_mode_override="serialization")

    model: str
    version: int
    fingerprint: str = Field(description="Of all vectors of the collection.")
    collection: str


class CollectionCard(_Document):
    """A collection."""

    dim: int = Field(description="Dimensions of its vectors.")
    created: str = Field(description="ISO 8601")
    items: int
    loaded: bool = Field(description="Whether its model is, which adding and searching need.")


class CollectionList(BaseModel):
    """Every collection."""

    collections: list[CollectionCard]


class AddedItems(_Document):
    """The answer of `POST /collections/{name}/items`."""

    added: int = Field(description="Items that are new.")
    replaced: int = Field(description="Items that took the place of one of the same id.")
    errors: list[Skipped]


class Hit(BaseModel):
    """An item that was found."""

    id: str
    scores: dict[str, float] = Field(description="By metric; the first one gave the order.")
    payload: dict[str, Any]


class Found(_Document):
    """The answer of `POST /collections/{name}/search`."""

    results: list[list[Hit]] = Field(description="For each query the items it found, the best first.")


class StoredItem(_Document):
    """An item of a collection."""

    id: str
    payload: dict[str, Any]
    embedding: list[float]
    variance: list[float] | None = Field(description="null where none was given.")


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "Of the collection.",
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "May contain slashes.",
}
COLLECTION = {"parameters": [_NAME]}
ITEM = {"parameters": [_NAME, _ID]}

_IMAGE = {"type": "string", "description": "Base64, or a data URI."}
_VECTOR = {"type": "array", "items": {"type": "number"}}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_GIVEN = {"embedding": _VECTOR, "variance": _VECTOR}
_ABOUT = {"id": {"type": "string"}, "payload": {"type": "object"}}
_ITEM = {"anyOf": [_object(_ABOUT | {"image": _IMAGE}, ["id", "image"]), _object(_ABOUT | _GIVEN, ["id", "embedding"])]}
_QUERY = {"anyOf": [_IMAGE, _object({"id": _ABOUT["id"]}, ["id"]), _object(_GIVEN, ["embedding"])]}


def _add() -> dict[str, Any]:
    example = {"items": [{"id": "gradient.png", "image": EXAMPLES[0], "payload": {"kind": "gradient"}}]}
    document = operation(AddOptions, {"items": {"type": "array", "items": _ITEM}}, example)
    content = document["requestBody"]["content"]
    kept = {kind: content[kind] for kind in ("application/json", "multipart/form-data")}
    schema = kept["multipart/form-data"]["schema"]
    schema["properties"]["items"]["description"] = (
        "The name of each file is the item's id; the field's does not matter."
    )
    schema["properties"]["payloads"] = {"type": "string", "description": "A JSON object: payloads by file name."}
    document["requestBody"]["content"] = kept
    return document


def _on_collection(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"parameters": [_NAME, *document["parameters"]]}


ADD = _on_collection(_add())
SEARCH = _on_collection(
    operation(
        SearchOptions,
        {"queries": {"type": "array", "items": _QUERY}},
        {"queries": [EXAMPLES[0], {"id": "gradient.png"}]},
    )
)
