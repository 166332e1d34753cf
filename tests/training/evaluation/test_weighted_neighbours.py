"""Weighted votes are those of the formula, k and τ are chosen without a look at the test items."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from training.evaluation.probes import Codes
from training.evaluation.split import Split, split_training
from training.evaluation.weighted_neighbours import COUNTS, TEMPERATURES, weighted_neighbours

CPU = torch.device("cpu")


@pytest.fixture
def codes() -> Codes:
    """Five overlapping clusters: 600 training items, 400 test items."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 6))
    labels, test_labels = rng.integers(0, 5, 600), rng.integers(0, 5, 400)
    train, test = ((centres[of] + rng.standard_normal((len(of), 6))).astype(np.float32) for of in (labels, test_labels))
    return Codes(train, labels, test=test, test_labels=test_labels, device=CPU)


def reference(train: np.ndarray, labels: np.ndarray, test: np.ndarray, count: int, temperature: float) -> np.ndarray:
    """The formula, by scikit-learn's neighbours."""
    found = KNeighborsClassifier(
        count, metric="cosine", weights=lambda distances: np.exp((1 - distances.astype(np.float64)) / temperature)
    )
    predicted: np.ndarray = found.fit(train, labels).predict(test)
    return predicted


def test_the_votes_and_the_choice_are_those_of_the_formula(codes: Codes) -> None:
    train, labels = codes.train.numpy(), codes.train_labels.numpy()
    split = split_training(labels, 0)
    found = weighted_neighbours(codes, split)
    fit, held = split.fit, split.validation
    scores = {
        (count, temperature): np.mean(
            reference(train[fit], labels[fit], train[held], count, temperature) == labels[held]
        )
        for count in COUNTS
        for temperature in TEMPERATURES
    }
    assert (found.count, found.temperature) == max(scores, key=scores.__getitem__)
    predicted = reference(train, labels, codes.test.numpy(), found.count, found.temperature)
    assert found.accuracy == pytest.approx(np.mean(predicted == codes.test_labels.numpy()), abs=1 / 400)


def test_test_labels_choose_nothing(codes: Codes) -> None:
    split = split_training(codes.train_labels.numpy(), 0)
    found = weighted_neighbours(codes, split)
    codes.test_labels = (codes.test_labels + 1) % 5
    wrong = weighted_neighbours(codes, split)
    assert dataclasses.replace(wrong, accuracy=found.accuracy) == found
    assert wrong.accuracy < 0.5 < found.accuracy


def test_the_nearest_decides_where_votes_fall_off_steeply() -> None:
    """One item of the right class lies nearer than fifty of another."""
    angles = np.array([0.0, *np.linspace(0.5, 0.6, 50)])
    train = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    labels = np.array([1] + [0] * 50)
    split = Split(np.arange(1, 51), np.array([0]))
    at_one = Codes(train, labels, test=train[:1], test_labels=np.array([1]), device=CPU)
    assert weighted_neighbours(at_one, split).accuracy == 0  # no setting is better on the item held out: the first
    many = np.repeat(train[:1], 2, 0)
    both = Codes(
        np.concatenate((many[:1], train)), np.array([1, *labels]), test=many, test_labels=np.array([1, 1]), device=CPU
    )
    found = weighted_neighbours(both, Split(np.arange(1, 52), np.array([0])))
    assert (found.accuracy, found.count, found.temperature) == (1.0, 5, 0.03)


def test_few_items_and_zero_vectors_are_no_obstacle() -> None:
    train = np.zeros((3, 2), np.float32)
    few = Codes(train, np.array([0, 1, 1]), test=train[:2], test_labels=np.array([1, 1]), device=CPU)
    found = weighted_neighbours(few, split_training(np.array([0, 1, 1]), 0))
    assert (found.accuracy, found.count, found.temperature) == (1.0, COUNTS[0], TEMPERATURES[0])
