"""Clusters are named as well as can be, whatever they were called, and collapse is survived."""

import itertools

import numpy as np
import pytest

from training.evaluation.clustering import assignment_accuracy, cluster


def blobs(spread: float = 1.0, dimensions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 900)
    return random.normal(size=(3, dimensions))[labels] * 4 + spread * random.normal(size=(900, dimensions)), labels


def test_the_naming_is_the_best_of_all_permutations() -> None:
    random = np.random.default_rng(0)
    labels, clusters = random.integers(0, 4, 50), random.integers(0, 4, 50)
    best = max((labels == np.array(names)[clusters]).mean() for names in itertools.permutations(range(4)))
    assert assignment_accuracy(labels, clusters) == pytest.approx(best)


def test_the_scores_do_not_heed_the_names_of_classes_or_the_scale_of_codes() -> None:
    codes, labels = blobs(spread=2.0)
    found = cluster(codes[:600], codes[600:], labels[600:], 3, seed=0)
    renamed = cluster(codes[:600] * 1e3 + 7, codes[600:] * 1e3 + 7, np.array([2, 0, 1])[labels[600:]], 3, seed=0)
    assert found is not None
    assert renamed is not None
    assert vars(found) == pytest.approx(vars(renamed))
    assert 0.5 < found.accuracy < 1


def test_far_classes_are_found_although_most_dimensions_have_collapsed() -> None:
    codes, labels = blobs()
    padded = np.concatenate([codes, np.zeros((900, 60))], 1)
    found = cluster(padded[:600], padded[600:], labels[600:], 3, seed=0)
    assert found is not None
    assert found.accuracy > 0.95
    assert found.nmi > 0.85
    assert found.ari > 0.85


def test_noise_has_no_clusters_of_classes_and_one_point_has_none_at_all() -> None:
    random = np.random.default_rng(0)
    found = cluster(random.normal(size=(600, 2)), random.normal(size=(300, 2)), random.integers(0, 3, 300), 3, seed=0)
    assert found is not None
    assert found.accuracy < 0.45
    assert abs(found.ari) < 0.05
    assert cluster(np.ones((50, 2)), np.ones((9, 2)), np.zeros(9, np.int64), 2, seed=0) is None
