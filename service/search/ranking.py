"""The order of what a search found: by its nearness, or anew by the model's own evidence for the same content."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.engine.bundle import EmbeddingSpec
from service.engine.results import Embedding, Embeddings
from service.engine.similarity import available_metrics, compare
from service.search.errors import InvalidSearchError
from service.search.items import Item
from service.search.store import Nearness

__all__ = ["Hit", "rank"]

_EVIDENCE = ("log_likelihood_ratio", "probability_same")


@dataclass(frozen=True, eq=False)
class Hit:
    """An item that was found.

    Attributes:
        item: The item.
        scores: By metric, as `service.engine.similarity` gives them.
    """

    item: Item
    scores: dict[str, float]


def rank(
    query: Embedding,
    items: Sequence[Item],
    spec: EmbeddingSpec,
    by: Nearness,
    *,
    rerank: bool = False,
    prior: float = 0.5,
) -> list[Hit]:
    """Scores items and puts the best first.

    Args:
        query: What was looked for; re-ranking needs its variance.
        items: The candidates.
        spec: Their latent space.
        by: The metric that they were found by.
        rerank: Order them by log-likelihood ratio, with the variances of both sides, in place of `by`.
        prior: P(same content) before looking.

    Raises:
        InvalidSearchError: An item has no variance to re-rank by.
        SimilarityError: The model defines no likelihood ratio.
    """
    metrics: list[str] = [by]
    if rerank:
        metrics = [*(each for each in _EVIDENCE if each in available_metrics(spec) or each == _EVIDENCE[0]), by]
        unsure = next((item.id for item in items if item.variance is None), None)
        if unsure is not None:
            raise InvalidSearchError(
                f"rerank: the item {unsure[:100]!r} was added without its variance; add it again with one, or as an "
                "image, or search without rerank."
            )
    none = np.zeros(spec.dim, np.float32)
    rows = [Embedding(item.mean, none if item.variance is None else item.variance) for item in items]
    found = compare(Embeddings.stack([query], spec.dim), Embeddings.stack(rows, spec.dim), spec, metrics, prior=prior)
    scores = [{metric: float(found[metric][0, index]) for metric in metrics} for index in range(len(items))]
    sign = 1 if metrics[0] == "euclidean" else -1
    order = np.argsort(sign * found[metrics[0]][0], kind="stable")
    return [Hit(items[index], scores[index]) for index in order]
