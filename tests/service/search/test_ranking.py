"""The order of hits is that of the scores, and the scores are those of `service.engine.similarity`."""

import numpy as np
import pytest

from service.engine.bundle import Calibration, EmbeddingSpec
from service.engine.errors import SimilarityError
from service.engine.results import Embedding, Embeddings
from service.engine.similarity import compare
from service.search.errors import InvalidSearchError
from service.search.items import Item
from service.search.ranking import rank

SPEC = EmbeddingSpec(dim=3, sigma2=0.13, tau2=0.87, calibration=Calibration(slope=0.8, intercept=-0.1))
RNG = np.random.default_rng(0)
MEANS, VARIANCES = RNG.normal(size=(6, 3)).astype(np.float32), RNG.uniform(0.01, 1, (6, 3)).astype(np.float32)
ITEMS = [Item(str(n), MEANS[n], VARIANCES[n], {}) for n in range(1, 6)]
QUERY = Embedding(MEANS[0], VARIANCES[0])


@pytest.mark.parametrize("by", ["cosine", "euclidean"])
@pytest.mark.parametrize("rerank", [False, True])
def test_the_best_come_first_by_the_scores_of_similarity(by: str, rerank: bool) -> None:
    metrics = ["log_likelihood_ratio", "probability_same", by] if rerank else [by]
    left, right = Embeddings(MEANS[:1], VARIANCES[:1]), Embeddings(MEANS[1:], VARIANCES[1:])
    wanted = compare(left, right, SPEC, metrics, prior=0.1)
    hits = rank(QUERY, ITEMS, SPEC, by, rerank=rerank, prior=0.1)
    assert len(hits) == 5
    for hit in hits:
        assert hit.scores == {metric: wanted[metric][0, int(hit.item.id) - 1] for metric in metrics}
    scores = [hit.scores[metrics[0]] for hit in hits]
    assert scores == sorted(scores, reverse=metrics[0] != "euclidean")


def test_nothing_found_is_nothing_ranked() -> None:
    assert rank(QUERY, [], SPEC, "cosine", rerank=True) == []


def test_an_item_of_unknown_variance_is_named_when_it_should_be_ranked_anew() -> None:
    items = [*ITEMS, Item("vague", MEANS[1], None, {})]
    assert len(rank(QUERY, items, SPEC, "cosine")) == 6
    with pytest.raises(InvalidSearchError, match="'vague'"):
        rank(QUERY, items, SPEC, "cosine", rerank=True)


def test_without_calibration_there_is_a_ratio_and_no_probability_and_under_a_flat_prior_neither() -> None:
    plain = SPEC.model_copy(update={"calibration": None})
    assert list(rank(QUERY, ITEMS, plain, "cosine", rerank=True)[0].scores) == ["log_likelihood_ratio", "cosine"]
    flat = plain.model_copy(update={"tau2": None})
    with pytest.raises(SimilarityError, match="flat"):
        rank(QUERY, ITEMS, flat, "cosine", rerank=True)
