"""Probes against the slow and obvious version, and against what must be true of them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from training.evaluation.linear import fit_logistic, fit_ridge, rotate, standardise
from training.evaluation.mlp import mlp_probe
from training.evaluation.probes import Codes, knn_accuracies, knn_accuracy, linear_probe
from training.evaluation.split import split_training
from training.evaluation.targets import Target, r_squared

CPU = torch.device("cpu")


def clusters(spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(5, 8)) * 2
    labels = random.integers(0, 5, 900)
    features = (centres[labels] + spread * random.normal(size=(900, 8))).astype(np.float32)
    return features[:700], labels[:700], features[700:], labels[700:]


def codes(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Codes:
    return Codes(train, labels, test=test, test_labels=test_labels, device=CPU)


def linear_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    target = Target("class", labels, test_labels)
    return linear_probe(torch.from_numpy(train), torch.from_numpy(test), target, split_training(labels, 0)).score


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
    assert knn_accuracies(few) == knn_accuracies(few, neighbours=3)


def test_angles_do_not_depend_on_lengths_and_zeros_have_none() -> None:
    train, labels, test, test_labels = clusters(spread=2.5)
    scale = np.random.default_rng(1).uniform(0.1, 10, (len(train), 1)).astype(np.float32)
    plain, scaled = (knn_accuracies(codes(part, labels, test, test_labels)) for part in (train, train * scale))
    assert plain.cosine == pytest.approx(scaled.cosine, abs=0.011)
    assert plain.euclidean != scaled.euclidean
    assert 0 <= knn_accuracies(codes(train * 0, labels, test * 0, test_labels)).cosine <= 1


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-4])
def test_logistic_regression_finds_the_optimum_that_scikit_learn_finds(l2: float) -> None:
    train, labels, _, _ = clusters(spread=2.5)
    features, _ = standardise(torch.from_numpy(train), torch.from_numpy(train))
    reference = LogisticRegression(C=1 / (l2 * len(train)), max_iter=5_000, tol=1e-8).fit(features.numpy(), labels)
    found = fit_logistic(features, torch.from_numpy(labels), 5, l2)
    probability = torch.softmax(found(features), 1).numpy()
    assert np.abs(probability - reference.predict_proba(features.numpy())).max() < 0.02


def test_the_linear_probe_agrees_with_scikit_learn() -> None:
    train, labels, test, test_labels = clusters(spread=2.5)
    mean, deviation = train.mean(0), train.std(0)
    reference = LogisticRegression(C=1 / (1e-4 * len(train)), max_iter=2_000).fit((train - mean) / deviation, labels)
    expected = reference.score((test - mean) / deviation, test_labels)
    assert linear_accuracy(train, labels, test, test_labels) == pytest.approx(expected, abs=0.016)


def test_ridge_regression_agrees_with_scikit_learn_and_does_not_heed_the_basis() -> None:
    random = np.random.default_rng(0)
    features, values = random.normal(size=(200, 6)) + 3, random.normal(size=(200, 2))
    alphas = torch.tensor([0.5, 0.01], dtype=torch.float64)
    found = fit_ridge(torch.from_numpy(features), torch.from_numpy(values), alphas)(torch.from_numpy(features))
    turned, _ = rotate(torch.from_numpy(features), torch.from_numpy(features))
    assert torch.allclose(fit_ridge(turned, torch.from_numpy(values), alphas)(turned), found, atol=1e-9)
    for column, alpha in enumerate(alphas.tolist()):
        reference = Ridge(alpha * len(features)).fit(features, values[:, column]).predict(features)
        assert np.abs(found[:, column].numpy() - reference).max() < 1e-9


def test_a_dimension_that_never_varies_harms_nothing() -> None:
    train, labels, test, test_labels = clusters()
    dead = [np.concatenate([part, np.full((len(part), 1), 3.0, np.float32)], 1) for part in (train, test)]
    before = linear_accuracy(train, labels, test, test_labels)
    assert linear_accuracy(dead[0], labels, dead[1], test_labels) == pytest.approx(before, abs=0.01)


def test_a_unit_that_stirs_on_one_test_item_only_does_not_decide_the_score() -> None:
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(size=(900, 3)), np.zeros((900, 1))], 1).astype(np.float32)
    features[800, 3] = 0.05  # dead on every training item
    values = features[:, 0] * features[:, 1]
    target, split = Target("product", values[:700], values[700:]), split_training(np.zeros(700, np.int64), 0)
    train, test = torch.from_numpy(features[:700]), torch.from_numpy(features[700:])
    without = mlp_probe(train[:, :3], test[:, :3], [target], split, 0).scores["product"]
    assert without > 0.7
    assert mlp_probe(train, test, [target], split, 0).scores["product"] == pytest.approx(without, abs=0.1)


def test_noise_is_classified_by_chance_and_its_numbers_have_no_r_squared() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=(4_000, 4)).astype(np.float32)
    labels, values = random.integers(0, 4, 4_000), random.normal(size=4_000)
    meaningless = codes(noise[:2_000], labels[:2_000], noise[2_000:], labels[2_000:])
    assert knn_accuracy(meaningless, cosine=False) == pytest.approx(0.25, abs=0.05)
    split = split_training(labels[:2_000], 0)
    targets = [Target("class", labels[:2_000], labels[2_000:]), Target("number", values[:2_000], values[2_000:])]
    for target, chance in zip(targets, (0.25, 0.0), strict=True):
        assert linear_probe(meaningless.train, meaningless.test, target, split).score == pytest.approx(chance, abs=0.05)
    scores = mlp_probe(meaningless.train, meaningless.test, targets, split, 0).scores
    assert scores["class"] == pytest.approx(0.25, abs=0.06)
    assert -0.5 < scores["number"] < 0.05  # it may be worse than the mean: R² is clipped nowhere


def test_the_network_reads_what_no_line_can_from_several_heads_at_once() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (3_000, 2)).astype(np.float32)
    features, asked = torch.from_numpy(points[:2_000]), torch.from_numpy(points[2_000:])
    corner, radius = (points[:, 0] * points[:, 1] > 0).astype(np.int64), np.linalg.norm(points, axis=1)
    targets = [Target("corner", corner[:2_000], corner[2_000:]), Target("radius", radius[:2_000], radius[2_000:])]
    split = split_training(corner[:2_000], 0)
    scores = mlp_probe(features, asked, targets, split, 0).scores
    assert scores["corner"] > 0.95
    assert scores["radius"] > 0.95
    for target in targets:
        assert linear_probe(features, asked, target, split).score < 0.65


@pytest.mark.parametrize("kind", ["class", "number"])
def test_test_values_choose_nothing(kind: str) -> None:
    train, labels, test, test_labels = clusters(spread=2.5)
    random = np.random.default_rng(0)
    values = (labels, test_labels) if kind == "class" else (train[:, 0] + labels, test[:, 0] + test_labels)
    split, features = split_training(labels, 0), (torch.from_numpy(train), torch.from_numpy(test))
    true, shuffled = Target(kind, *values), Target(kind, values[0], random.permutation(values[1]))
    honest, permuted = (linear_probe(*features, target, split) for target in (true, shuffled))
    assert honest.chosen == permuted.chosen
    assert honest.score > permuted.score
    curved = [mlp_probe(*features, [target], split, 0) for target in (true, shuffled)]
    assert curved[0].chosen == curved[1].chosen
    assert curved[0].scores[kind] > curved[1].scores[kind]


def test_validation_chooses_the_penalty_that_generalises() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 80)).astype(np.float32)
    values = features[:, 0] + 2 * random.normal(size=120)  # hardly more items than dimensions, and much noise
    target = Target("noisy", values[:90], values[90:])
    train, test = torch.from_numpy(features[:90]), torch.from_numpy(features[90:])
    probe = linear_probe(train, test, target, split_training(np.zeros(90, np.int64), 0))
    bare = Ridge(1e-8).fit(features[:90], values[:90]).predict(features[90:])
    assert probe.chosen >= 1e-1
    assert probe.score > r_squared(values[90:], bare)


@pytest.mark.parametrize(("items", "size"), [(40, 300), (300, 40)])
def test_principal_axes_keep_distances_of_training_items_however_many_dimensions_there_are(
    items: int, size: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = standardise(torch.randn(items, size, generator=generator), torch.randn(7, size, generator=generator))
    turned, asked = rotate(train, test)
    assert turned.shape == (items, min(items, size))
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(train, train), rtol=1e-4, atol=2e-2)
    torch.testing.assert_close(asked @ turned.T, test @ train.T, rtol=1e-3, atol=1e-2)


def test_axes_that_are_not_found_leave_both_sets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError(
            "the algorithm failed to converge"
        )  # as it may on one machine and not on another

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    train, test = torch.randn(20, 4), torch.randn(5, 4)
    turned, asked = rotate(train, test)
    assert turned is train
    assert asked is test
