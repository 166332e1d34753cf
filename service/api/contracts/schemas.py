"""What `/docs` says of contracts. Only documentation: the tests check that requests and answers agree with it."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from service.api.contracts.bodies import ContractOptions
from service.api.documentation import problems
from service.api.negotiation import JSON

__all__ = ["IMAGE", "IMAGES", "Described", "contract", "errors"]

IMAGE = {"type": "string", "description": "Base64, or a data URI. Web addresses are not fetched."}
IMAGES = {"type": "array", "items": IMAGE, "minItems": 1}


class Described(BaseModel):
    """The schema of an answer."""

    model_config = ConfigDict(extra="forbid", json_schema_mode_override="serialization", populate_by_name=True)


def errors(model: type[Described], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of errors in a contract's shape; without statuses, those of a route that takes images."""
    told = problems(*(statuses or (400, 404, 408, 413, 415, 422, 429, 500, 504)))
    return {status: {"description": each["description"], "model": model} for status, each in told.items()}


def contract(
    options: type[ContractOptions], images: dict[str, Any], example: dict[str, Any], *, one_of: bool = False
) -> dict[str, Any]:
    """The body and the parameters of a POST route.

    Args:
        options: What the contract may be asked for.
        images: The JSON schema of each field that holds images.
        example: A body.
        one_of: One of those fields is enough; else all are needed.
    """
    known = options.model_json_schema()["properties"]
    query = [
        {"name": name, "in": "query", "required": False, "schema": known[name]}
        for name in ("model", "priority", "normalize")
    ]
    properties = images | {name: schema for name, schema in known.items() if name != "priority"}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if one_of:
        schema["anyOf"] = [{"required": [name]} for name in images]
    else:
        schema["required"] = list(images)
    content = {JSON: {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}, "parameters": query}
