"""Probes against the slow and obvious version, and against what must be true of them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from training.evaluation.probes import Codes, knn_accuracy, linear_accuracy

CPU = torch.device("cpu")


def clusters(spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(5, 8)) * 2
    labels = random.integers(0, 5, 900)
    features = (centres[labels] + spread * random.normal(size=(900, 8))).astype(np.float32)
    return features[:700], labels[:700], features[700:], labels[700:]


def codes(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Codes:
    return Codes(train, labels, test=test, test_labels=test_labels, device=CPU)


@pytest.mark.parametrize("cosine", [False, True])
def test_knn_agrees_with_scikit_learn(cosine: bool) -> None:
    train, labels, test, test_labels = clusters(spread=2.5)
    reference = KNeighborsClassifier(21, metric="cosine" if cosine else "euclidean").fit(train, labels)
    expected = reference.score(test, test_labels)
    found = knn_accuracy(codes(train, labels, test, test_labels), cosine=cosine, neighbours=21)
    assert found == pytest.approx(expected, abs=0.011)  # scikit-learn gives ties to the smaller label


def test_a_tie_goes_to_the_nearer_class() -> None:
    train = np.array([[0.0], [10.0], [1.0], [9.0]], np.float32)
    pair = codes(train, np.array([1, 0, 0, 1]), np.array([[0.1]], np.float32), np.array([1]))
    assert knn_accuracy(pair, cosine=False, neighbours=2) == 1.0


def test_more_neighbours_than_items_are_all_items() -> None:
    train, labels, test, test_labels = clusters()
    few = codes(train[:3], labels[:3], test, test_labels)
    assert knn_accuracy(few, cosine=False) == knn_accuracy(few, cosine=False, neighbours=3)


def test_the_linear_probe_agrees_with_scikit_learn() -> None:
    train, labels, test, test_labels = clusters(spread=2.5)
    mean, deviation = train.mean(0), train.std(0)
    reference = LogisticRegression(C=1 / (1e-4 * len(train)), max_iter=2_000).fit((train - mean) / deviation, labels)
    expected = reference.score((test - mean) / deviation, test_labels)
    assert linear_accuracy(codes(train, labels, test, test_labels)) == pytest.approx(expected, abs=0.011)


def test_a_dimension_that_never_varies_harms_nothing() -> None:
    train, labels, test, test_labels = clusters()
    dead = [np.concatenate([part, np.full((len(part), 1), 3.0, np.float32)], 1) for part in (train, test)]
    before = linear_accuracy(codes(train, labels, test, test_labels))
    after = linear_accuracy(codes(dead[0], labels, dead[1], test_labels))
    assert after == pytest.approx(before, abs=0.01)


def test_noise_is_classified_by_chance() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=(4_000, 4)).astype(np.float32)
    labels = random.integers(0, 4, 4_000)
    meaningless = codes(noise[:2_000], labels[:2_000], noise[2_000:], labels[2_000:])
    assert knn_accuracy(meaningless, cosine=False) == pytest.approx(0.25, abs=0.05)
    assert linear_accuracy(meaningless) == pytest.approx(0.25, abs=0.05)
