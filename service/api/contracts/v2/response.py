"""The answer to an inference request: a JSON object, and after it the outputs that were asked for as binary data."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.responses import Response

from service.api.contracts.v2.models import ServedModel
from service.api.contracts.v2.request import JSON_LENGTH, InferOptions
from service.api.negotiation import JSON
from service.api.outputs import Answer
from service.engine.ticket import Timings

__all__ = ["Packing", "packing_of", "write_response"]

Packing = Literal["gzip", "deflate"]
_PACKERS: Mapping[Packing, Callable[[bytes, int], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
_FASTEST = 1  # floats hardly get smaller with more effort
_BINARY = "application/octet-stream"


def packing_of(headers: Headers) -> Packing | None:
    """How the client wants the answer packed.

    Only a header that names one coding alone is a wish, as Triton's client sends it. A list of several is what HTTP
    libraries send unasked, and packing floats takes longer than sending them.
    """
    match headers.get("accept-encoding"):
        case "gzip" | "deflate" as packing:
            return packing
    return None


def write_response(
    model: ServedModel,
    options: InferOptions,
    tensors: Mapping[str, NDArray[Any]],
    timings: Timings,
    packing: Packing | None,
) -> Response:
    """Writes the answer.

    Args:
        model: That answered.
        options: Of the request.
        tensors: By name, each C-contiguous and with the axis of the batch first.
        timings: Of the stages.
        packing: What to do with the body.
    """
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for wanted in options.outputs:
        values = tensors[wanted.spec.name]
        output: dict[str, Any] = {"name": wanted.spec.name, "datatype": wanted.spec.datatype, "shape": values.shape}
        if wanted.binary:
            binary.append(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values.reshape(-1)
        outputs.append(output)
    content: dict[str, Any] = {} if options.request_id is None else {"id": options.request_id}
    content |= {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    content["parameters"] = {"fingerprint": model.engine.fingerprint}
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = {JSON_LENGTH: str(len(body))} if binary else {}
    body = b"".join([body, *binary])
    if packing is not None:
        body, headers["Content-Encoding"] = _PACKERS[packing](body, _FASTEST), packing
    return Answer(body, _BINARY if binary else JSON, model.engine, timings, headers)
