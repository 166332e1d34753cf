"""The embeddings of a request's items, images and ready embeddings alike."""

from typing import Any

import numpy as np

from service.api.errors import ItemError
from service.api.exchange import Call
from service.api.json_items import GivenEmbedding
from service.engine.results import Embedding
from service.engine.ticket import Timings

__all__ = ["embedded"]


async def embedded(call: Call[Any]) -> tuple[dict[str, list[Embedding | ItemError]], Timings]:
    """Embeds the images of all lists as one request, and takes ready embeddings as they are.

    Returns:
        For each list what became of each item, in order; without a variance a ready embedding counts as known exactly.
        And the timings of the images.

    Raises:
        EngineError: Not admitted, or too late.
        ClientDisconnect: Nobody waits any more.
    """
    images = [item for items in call.lists.values() for item in items if not isinstance(item, GivenEmbedding)]
    outcomes, timings = await call.run(images, "embed") if images else ([], Timings())
    fresh = iter(outcomes)

    def result(item: object, index: int, side: str | None) -> Embedding | ItemError:
        if isinstance(item, GivenEmbedding):
            return Embedding(item.mean, np.zeros_like(item.mean) if item.variance is None else item.variance)
        outcome: Embedding | Exception = next(fresh)
        return call.item_error(outcome, index, side) if isinstance(outcome, Exception) else outcome

    results = {
        name: [result(item, index, None if name == "images" else name) for index, item in enumerate(items)]
        for name, items in call.lists.items()
    }
    return results, timings
