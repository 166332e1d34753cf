"""The JSON object of an inference request: what it says, not what its tensors hold.

What is not named here is of extensions that are not offered, or for models of other servers, and is ignored.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.errors import RequestError
from service.api.json_items import load_object

__all__ = ["Envelope", "InputTensor", "RequestedOutput", "read_envelope"]

_MAX_TENSORS = 16
_MAX_MICROSECONDS = 2**63 - 1
Size = Annotated[int, Field(ge=0, le=2**40)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Parameters(_Part):
    """Of a request.

    Attributes:
        priority: 1 is the highest; 0 leaves it to the server.
        timeout: In microseconds; 0 leaves it to the server.
        normalize: Scale every embedding to length 1; of this server alone.
        binary_data_output: Whether outputs are binary that do not say it themselves.
    """

    priority: Annotated[int, Field(ge=0)] = 0
    timeout: Annotated[int, Field(ge=0, le=_MAX_MICROSECONDS)] = 0
    normalize: bool = False
    binary_data_output: bool = False


class InputParameters(_Part):
    """Of an input."""

    binary_data_size: Size | None = None
    shared_memory_region: Any = None


class OutputParameters(_Part):
    """Of an output that is asked for."""

    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class InputTensor(_Part):
    """An input; `data` is checked where its datatype is known."""

    name: str
    datatype: str
    shape: Annotated[list[Size], Field(max_length=8)]
    parameters: InputParameters | None = None
    data: Any = None


class RequestedOutput(_Part):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class Envelope(_Part):
    """An inference request without its binary data."""

    id: str | None = None
    inputs: Annotated[list[InputTensor], Field(max_length=_MAX_TENSORS)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=_MAX_TENSORS)] | None = None
    parameters: Parameters | None = None


def read_envelope(text: bytes, max_items: int) -> Envelope:
    """Parses and checks it.

    Args:
        text: UTF-8.
        max_items: Of a request; with it goes how much JSON is parsed at all.

    Raises:
        RequestError: Not JSON, or not an inference request.
        TooManyItemsError: More values than so many items can have.
    """
    content = load_object(text, max_items, "inference request")
    try:
        return Envelope.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise RequestError(f"{place}: {problem['msg']}; that is not an inference request of the protocol.") from error
