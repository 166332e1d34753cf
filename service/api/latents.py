"""A request that brings latents instead of images: JSON with lists of numbers, or a `.npy` batch."""

import numpy as np
from starlette.requests import Request

from service.api.errors import ItemError, RequestError, UnprocessableError, UnsupportedMediaTypeError
from service.api.exchange import Asked, Call, receive
from service.api.inputs import UNKNOWN_TYPES, Form, media_type, query_options
from service.api.json_items import GivenEmbedding, Item, parse_json, read_vector
from service.api.limits import Body, check_count
from service.api.negotiation import JSON, NPY
from service.api.npy import NPY_MAGIC, read_npy
from service.api.options import Options, parse_options
from service.api.threads import off_loop
from service.engine.results import Floats

__all__ = ["receive_latents"]

_NAME = "latents"


async def receive_latents(request: Request) -> Call[Options]:
    """Reads a request whose list `latents` holds embeddings without variances.

    Raises:
        ApiError: It is refused; see the table in `errors`.
        ItemError: A latent that is not a list of finite numbers, or not of the model's dimension.
    """
    given = media_type(request)
    if given not in UNKNOWN_TYPES | {JSON, NPY}:
        raise UnsupportedMediaTypeError(f"Expected Content-Type {JSON} or {NPY}; found {given[:100]!r}.")
    query = query_options(request)
    max_items = request.app.state.settings.max_items

    async def read(body: Body) -> Asked[Options]:
        content = await body.read()
        plain = await off_loop(len(content), lambda: _parse(given, content, max_items))
        form = plain.with_query(query)
        return Asked(parse_options(Options, form.options), form.lists)

    return await receive(request, read, "bulk" if query.get("priority") == "bulk" else "interactive")


def _parse(given: str, body: bytes, max_items: int) -> Form:
    if given == NPY or (given in UNKNOWN_TYPES and body.startswith(NPY_MAGIC)):
        rows = read_npy(body, np.float32)
        if rows.ndim != 2:
            raise UnprocessableError(f"Expected a .npy batch of shape [N, D]; found {list(rows.shape)}.")
        check_count(len(rows), max_items)
        return Form({}, {_NAME: [_read_row(index, row) for index, row in enumerate(rows)]})
    return Form(*parse_json(body, (_NAME,), max_items, _read_latent))


def _read_row(index: int, row: Floats) -> Item:
    try:
        return _read_latent(row)
    except RequestError as error:
        raise ItemError(error, index) from error


def _read_latent(value: object) -> Item:
    return GivenEmbedding(read_vector(value), None)
