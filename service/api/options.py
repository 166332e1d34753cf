"""What a request may ask for, beside its images; the same names in JSON fields, query parameters and form fields."""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.errors import RequestError
from service.engine.priority import Priority

__all__ = [
    "Dtype",
    "EmbedOptions",
    "LineOptions",
    "Metric",
    "Options",
    "ReconstructOptions",
    "SimilarityOptions",
    "parse_options",
]

Dtype = Literal["float32", "float16", "int8", "ubinary"]
Metric = Literal["cosine", "euclidean", "log_likelihood_ratio", "probability_same"]
OptionsT = TypeVar("OptionsT", bound="Options")


class Options(BaseModel):
    """What every request may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        None, description="`name` (its newest version) or `name@version`; the server's default when absent."
    )
    priority: Priority | None = Field(
        None,
        description="`interactive` goes before `bulk`, and has room that bulk has not. When absent, a stream of lines "
        "is bulk and all else interactive. In the query it counts before the body is read.",
    )


class LineOptions(Options):
    """What `POST /embed` may be asked for when it answers line by line."""

    normalize: bool = Field(False, description="Scale every embedding to length 1.")
    variance: bool = Field(
        False, description="Also give the posterior variances, in float32 and of the embedding before `normalize`."
    )
    dtype: Dtype = Field(
        "float32",
        description="int8: value ≈ integer × `scale`. ubinary: one bit per dimension, 1 where positive, the first "
        "dimension in the highest bit, zeros after the last.",
    )
    encoding: Literal["float", "base64"] = Field(
        "float", description="base64: each embedding is a string of its little-endian values."
    )


class EmbedOptions(LineOptions):
    """What `POST /embed` may be asked for."""

    on_error: Literal["fail", "skip"] = Field(
        "fail", description="skip: a bad image leaves null in its place and an entry in `errors`."
    )


class ReconstructOptions(Options):
    """What `POST /reconstruct` may be asked for."""

    on_error: Literal["fail", "skip"] = Field(
        "fail", description="skip: a bad image leaves null in its place and an entry in `errors`."
    )


class SimilarityOptions(Options):
    """What `POST /similarity` may be asked for."""

    pairs: bool = Field(False, description="Compare left[i] with right[i] only, instead of each with each.")
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=4)] | None = Field(
        None, description="All that the model defines, when absent."
    )
    prior: float = Field(0.5, gt=0, lt=1, description="P(same content) before looking, for `probability_same`.")


def parse_options(options: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Checks the options of a request.

    Args:
        options: The model of the route.
        given: Names and values, as JSON or as text.

    Raises:
        RequestError: A name that the route does not know, or a value that it does not take.
    """
    if not given:
        defaults: OptionsT = _defaults(options)
        return defaults
    try:
        return options.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(options.model_fields)
            raise RequestError(f"Unknown field {_short(name)}; the options of this route are {known}.") from error
        raise RequestError(f"{name}: {problem['msg']}; found {_short(problem['input'])}.") from error


@functools.cache
def _defaults(options: type[OptionsT]) -> OptionsT:
    return options()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
