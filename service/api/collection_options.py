"""What the routes of collections may be asked for, beside their items and queries."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field

from service.api.options import Options
from service.search.store import Nearness

__all__ = ["AddOptions", "SearchOptions"]


class _VectorOptions(Options):
    fingerprint: str | None = Field(
        None, description="Of the model that gave the ready embeddings; needed where there are any."
    )


class AddOptions(_VectorOptions):
    """What `POST /collections/{name}/items` may be asked for."""

    on_error: Literal["fail", "skip"] = Field(
        "fail", description="skip: a bad image is left out, with an entry in `errors`. Else nothing is added."
    )


def _from_text(value: Any) -> Any:
    """In a query or a form a filter is text."""
    return orjson.loads(value) if isinstance(value, str) else value


class SearchOptions(_VectorOptions):
    """What `POST /collections/{name}/search` may be asked for."""

    k: int = Field(10, ge=1, le=1000, description="How many items to find for each query.")
    metric: Nearness = Field("cosine", description="What is near.")
    filter: Annotated[dict[str, Any] | None, BeforeValidator(_from_text)] = Field(
        None,
        description='On payloads: `{"field": value, "nested.field": {"$gte": 1}}`, with `$eq`, `$ne`, `$gt`, `$gte`, '
        "`$lt`, `$lte`, `$in`, `$nin`, `$exists`, `$contains`, and `$and`, `$or`, `$not` around them. JSON in a query.",
    )
    rerank: int = Field(
        0,
        ge=0,
        le=1000,
        description="Put so many of the nearest into the order of the log-likelihood ratio of the same content; 0 for "
        "none.",
    )
    prior: float = Field(0.5, gt=0, lt=1, description="P(same content) before looking, for `probability_same`.")
