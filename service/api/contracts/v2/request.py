"""An inference request from its bytes: the JSON object, and after it the binary data of the input.

`Inference-Header-Content-Length` says where the JSON ends. Without it all is JSON; 0 says that all is the tensor.
"""

from dataclasses import dataclass

from starlette.datastructures import Headers

from service.api.contracts.v2.envelope import Envelope, InputTensor, Parameters, RequestedOutput, read_envelope
from service.api.contracts.v2.models import ServedModel, TensorSpec
from service.api.contracts.v2.tensors import items_of, items_of_raw
from service.api.errors import RequestError
from service.api.exchange import Asked
from service.api.options import Options

__all__ = ["ITEMS", "JSON_LENGTH", "InferOptions", "Wanted", "json_length", "read_request"]

JSON_LENGTH = "Inference-Header-Content-Length"
ITEMS = "items"
"""The name of the list in what `read_request` gives."""
_HIGHEST = 1
_BY_SHARED_MEMORY = "Shared memory is not offered; send and take tensors as binary data."


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for, and whether as binary data."""

    spec: TensorSpec
    binary: bool


class InferOptions(Options):
    """What a request asks for beside its items.

    Attributes:
        request_id: To be given back.
        timeout_s: How long the client wants to wait, from the arrival of the request.
        outputs: In order.
        normalize: Scale every embedding to length 1.
    """

    request_id: str | None = None
    timeout_s: float | None = None
    outputs: tuple[Wanted, ...]
    normalize: bool = False


def json_length(headers: Headers) -> int | None:
    """How many bytes of the body are JSON; None when all are.

    Raises:
        RequestError: Not a number.
    """
    given = headers.get(JSON_LENGTH)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 16):
        raise RequestError(f"{JSON_LENGTH}: expected a number of bytes; found {given[:100]!r}.")
    return int(given)


def read_request(body: bytes, length: int | None, model: ServedModel, max_items: int) -> Asked[InferOptions]:
    """Reads a request.

    Args:
        body: Unpacked.
        length: See `json_length`.
        model: That is asked.
        max_items: Of the batch.

    Raises:
        ApiError: It is refused; see the table in `errors`.
        ItemError: One of its items is.
    """
    reference = model.engine.manifest.reference
    if length == 0:
        items = items_of_raw(body, model.input, max_items)
        outputs = tuple(Wanted(spec, binary=True) for spec in model.outputs)
        return Asked(InferOptions(model=reference, outputs=outputs), {ITEMS: items})
    if length is not None and length > len(body):
        raise RequestError(f"{JSON_LENGTH} is {length}, more than the {len(body)} bytes of the body.")
    envelope = read_envelope(body if length is None else body[:length], max_items)
    tensor = _only_input(envelope, model)
    binary = memoryview(body)[len(body) if length is None else length :]
    _check_binary(tensor, len(binary))
    items = items_of(tensor, binary, model.input, max_items)
    parameters = envelope.parameters or Parameters()
    options = InferOptions(
        model=reference,
        priority=None if not parameters.priority else "interactive" if parameters.priority == _HIGHEST else "bulk",
        request_id=envelope.id,
        timeout_s=parameters.timeout / 1e6 or None,
        outputs=_wanted(envelope.outputs, model, binary=parameters.binary_data_output),
        normalize=parameters.normalize,
    )
    return Asked(options, {ITEMS: items})


def _only_input(envelope: Envelope, model: ServedModel) -> InputTensor:
    names = [tensor.name for tensor in envelope.inputs]
    if names != [model.input.name]:
        found = ", ".join(repr(name[:40]) for name in names) or "none"
        raise RequestError(f"Expected the one input {model.input.name!r} of model {model.name}; found {found}.")
    tensor = envelope.inputs[0]
    if tensor.parameters is not None and tensor.parameters.shared_memory_region is not None:
        raise RequestError(_BY_SHARED_MEMORY)
    return tensor


def _check_binary(tensor: InputTensor, found: int) -> None:
    size = tensor.parameters.binary_data_size if tensor.parameters is not None else None
    if (size or 0) != found:
        raise RequestError(
            f"{tensor.name}: expected the {size or 0} bytes of binary data that 'binary_data_size' says after the "
            f"JSON, which {JSON_LENGTH} ends; found {found}."
        )


def _wanted(outputs: list[RequestedOutput] | None, model: ServedModel, *, binary: bool) -> tuple[Wanted, ...]:
    """All of them where none is named."""
    if not outputs:
        return tuple(Wanted(spec, binary) for spec in model.outputs)
    specs = {spec.name: spec for spec in model.outputs}
    wanted: dict[str, Wanted] = {}
    for output in outputs:
        if output.name not in specs or output.name in wanted:
            raise RequestError(f"Expected outputs of {', '.join(specs)}, each once; found {output.name[:40]!r}.")
        parameters = output.parameters
        if parameters is not None and parameters.shared_memory_region is not None:
            raise RequestError(_BY_SHARED_MEMORY)
        if parameters is not None and parameters.classification:
            raise RequestError(f"{output.name} has no classes, so that 'classification' means nothing here.")
        own = None if parameters is None else parameters.binary_data
        wanted[output.name] = Wanted(specs[output.name], binary if own is None else own)
    return tuple(wanted.values())
