"""`POST /embed`: images to vectors, all at once or line by line."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.contracts.tei import TeiOptions, answer_tei, or_tei_body, or_tei_error, tei_aside
from service.api.documentation import EXAMPLES, Embeddings, binary, operation, problems
from service.api.embed_stream import embed_stream
from service.api.errors import RequestError
from service.api.exchange import Call, Outcomes, receive_call
from service.api.inputs import media_type
from service.api.negotiation import JSON, LINES, NDJSON, NPY, preferred
from service.api.npy import write_npy
from service.api.options import EmbedOptions
from service.api.outputs import Answer, encode_rows, identity, json_answer, pack
from service.api.threads import off_loop
from service.engine.results import Embedding
from service.engine.results import Embeddings as Vectors

__all__ = ["router"]

router = APIRouter(tags=["images"])
_IMAGES = {"images": {"type": "array", "items": {"type": "string", "description": "Base64, or a data URI."}}}
_OK = {
    "content": {
        NPY: binary("Shape [N, D], or [N, ⌈D/8⌉] for ubinary."),
        NDJSON: binary(
            "One object for each line that was sent, in order, while they are still being sent: `index`, `id`, and "
            "`embedding` (`variance`, `scale`) or the members of a problem as `error`. When the stream cannot go on, a "
            "last object with `resume_at` and `error`, and the answer breaks off."
        ),
    }
}
_LINES = binary(
    'One `{"image": "<base64 or data URI>", "id": <string or number, may be absent>}` a line, as many as you like. '
    "Options are query parameters; `on_error` is not one of them."
)


@router.post(
    "/embed",
    response_model=Embeddings | list[list[float]],
    responses={**or_tei_error(problems(400, 404, 406, 408, 413, 415, 422, 429, 500, 504)), 200: _OK},
    openapi_extra=or_tei_body(
        operation(EmbedOptions, _IMAGES, {"images": list(EXAMPLES), "normalize": True}, {NDJSON: _LINES})
    ),
)
async def embed(request: Request) -> Response:
    """The embedding of each image: the mean of its posterior in latent space."""
    if media_type(request) in LINES:
        return embed_stream(request)
    wanted = preferred(request.headers.get("accept"), (JSON, NPY))
    with await receive_call(request, EmbedOptions, ("images",), tei_aside(request)) as call:
        if isinstance(call.options, TeiOptions):
            return await answer_tei(call)
        if wanted == NPY:
            _check_npy(call.options)
        outcomes = await call.run_all("embed", call.options.on_error)
        render = _npy if wanted == NPY else _json
        dim = call.engine.manifest.embedding.dim
        return await off_loop(4 * dim * len(outcomes.results), lambda: render(call, outcomes))


def _check_npy(options: EmbedOptions) -> None:
    """An array holds neither gaps, nor a second array, nor strings."""
    for name, needed in (("on_error", "fail"), ("variance", False), ("encoding", "float")):
        if getattr(options, name) != needed:
            raise RequestError(f"{name}: a .npy answer cannot give that; accept {JSON}, or leave it at {needed!r}.")


def _json(call: Call[EmbedOptions], outcomes: Outcomes[Embedding]) -> Response:
    options, spec = call.options, call.engine.manifest.embedding
    found = Vectors.stack([result for result in outcomes.results if result is not None], spec.dim)
    packed = pack(found.mean, options.dtype, normalize=options.normalize, spec=spec)
    rows = iter(encode_rows(packed.rows, options.encoding))
    content = identity(call.engine)
    content["dim"] = spec.dim
    if packed.scale is not None:
        content["scale"] = packed.scale
    content["embeddings"] = [None if result is None else next(rows) for result in outcomes.results]
    if options.variance:
        rows = iter(encode_rows(found.variance, options.encoding))
        content["variances"] = [None if result is None else next(rows) for result in outcomes.results]
    content["errors"] = outcomes.errors
    return json_answer(content, call.engine, outcomes.timings)


def _npy(call: Call[EmbedOptions], outcomes: Outcomes[Embedding]) -> Response:
    options, spec = call.options, call.engine.manifest.embedding
    found = Vectors.stack([result for result in outcomes.results if result is not None], spec.dim)
    packed = pack(found.mean, options.dtype, normalize=options.normalize, spec=spec)
    headers = {} if packed.scale is None else {"X-Embedding-Scale": repr(packed.scale)}
    return Answer(write_npy(packed.rows), NPY, call.engine, outcomes.timings, headers)
