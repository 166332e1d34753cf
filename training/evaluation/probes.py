"""How useful an embedding is, by its simplest uses: a linear map and nearest neighbours. Knows no models.

Every setting is chosen on a tenth of the training items and then used on all of them; test items are only scored.
The small network is in `training.evaluation.mlp`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.evaluation.linear import fit_logistic, fit_ridge, rotate, standardise
from training.evaluation.split import Split
from training.evaluation.targets import Target

__all__ = [
    "ALPHAS",
    "L2S",
    "NEIGHBOURS",
    "QUERIES",
    "Codes",
    "Neighbours",
    "Probe",
    "knn_accuracies",
    "knn_accuracy",
    "linear_probe",
    "majority_vote",
]

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 20
"""k, fixed by the protocol."""
L2S = (1e-2, 1e-3, 1e-4, 1e-5)
"""Candidates for the weight decay of logistic regression, the strongest first."""
ALPHAS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
"""Candidates for the penalty of ridge regression on standardised features."""
_TRIAL_ITERATIONS = 40
"""Of L-BFGS for each candidate, which begins where the one before ended."""
QUERIES = 256
"""Test items at once: their distances to 60,000 training items then fit into 64 MB, which is fastest."""


class Codes:
    """Features and labels of a train and a test set, on one device.

    Args:
        train: Shape [N, F].
        train_labels: Shape [N], classes counted from 0.
        test: Shape [M, F].
        test_labels: Shape [M].
        device: Where to compute.

    Attributes:
        scale: 1 over the length of each training item, shape [N].
    """

    def __init__(
        self, train: Features, train_labels: Labels, *, test: Features, test_labels: Labels, device: torch.device
    ) -> None:
        self.train, self.test = (torch.from_numpy(values).to(device) for values in (train, test))
        self.scale = self.train.square().sum(1).clamp(min=1e-24).rsqrt()  # a zero vector is at a right angle to all
        self.train_labels = torch.from_numpy(train_labels).to(device)
        self.test_labels = torch.from_numpy(test_labels).to(device)
        self.classes = int(max(train_labels.max(), test_labels.max())) + 1


@dataclass(frozen=True)
class Probe:
    """What a probe reached on the test items.

    Attributes:
        score: Accuracy, 0 to 1, or R².
        chosen: The setting that was best on the validation items.
    """

    score: float
    chosen: float


@dataclass(frozen=True)
class Neighbours:
    """Accuracies of nearest neighbours by both distances, shares of the test items."""

    cosine: float
    euclidean: float


def linear_probe(train: Tensor, test: Tensor, target: Target, split: Split) -> Probe:
    """A linear map of standardised features: logistic regression for a category, ridge regression for a number.

    Args:
        train: Shape [N, F].
        test: Shape [M, F], on the same device.
        target: What to predict.
        split: Which of the N items choose the penalty.
    """
    train, test = rotate(*standardise(train, test))
    values = torch.from_numpy(target.train).to(train.device)
    probe = _logistic_probe if target.categorical else _ridge_probe
    predicted, chosen = probe(train, test, values, split, target)
    return Probe(target.score(predicted.cpu().numpy()), chosen)


def _logistic_probe(train: Tensor, test: Tensor, labels: Tensor, split: Split, target: Target) -> tuple[Tensor, float]:
    """The penalty is weakened for as long as that does not harm the validation items."""
    fit, held = (torch.from_numpy(part).to(train.device) for part in (split.fit, split.validation))
    best, found, chosen = -1, None, L2S[0]
    features, known = train[fit], labels[fit]
    for l2 in L2S if len(held) else ():
        candidate = fit_logistic(features, known, target.classes, l2, start=found, iterations=_TRIAL_ITERATIONS)
        right = int((candidate(train[held]).argmax(1) == labels[held]).sum())
        if right < best:
            break
        best, found, chosen = right, candidate, (l2 if right > best else chosen)  # of equals the strongest
    del features
    return fit_logistic(train, labels, target.classes, chosen, start=found)(test).argmax(1), chosen


def _ridge_probe(train: Tensor, test: Tensor, values: Tensor, split: Split, _: Target) -> tuple[Tensor, float]:
    fit, held = (torch.from_numpy(part).to(train.device) for part in (split.fit, split.validation))
    values = values.double()
    best = 0
    if len(held):
        alphas = train.new_tensor(ALPHAS, dtype=torch.float64)
        found = fit_ridge(train[fit], values[fit][:, None].expand(-1, len(ALPHAS)), alphas)
        best = int((found(train[held].double()) - values[held][:, None]).square().mean(0).argmin())
    chosen = fit_ridge(train, values[:, None], train.new_tensor(ALPHAS[best : best + 1], dtype=torch.float64))
    return chosen(test.double())[:, 0], ALPHAS[best]


def knn_accuracy(codes: Codes, *, cosine: bool, neighbours: int = NEIGHBOURS) -> float:
    """Accuracy of the majority vote among the nearest training items; the nearer of tied classes wins.

    Args:
        codes: Features and labels.
        cosine: Cosine similarity instead of Euclidean distance.
        neighbours: k; all training items when there are fewer.

    Returns:
        The share of test items classified correctly.
    """
    found = knn_accuracies(codes, neighbours)
    return found.cosine if cosine else found.euclidean


def knn_accuracies(codes: Codes, neighbours: int = NEIGHBOURS) -> Neighbours:
    """Accuracies of the majority vote among the nearest training items, by both distances from one matrix product.

    Args:
        codes: Features and labels.
        neighbours: k; all training items when there are fewer.
    """
    k = min(neighbours, len(codes.train))
    squares = codes.train.square().sum(1)
    right = torch.zeros(2, device=codes.train.device)
    for queries, labels in zip(torch.split(codes.test, QUERIES), torch.split(codes.test_labels, QUERIES), strict=True):
        products = queries @ codes.train.T
        nearest_by_angle = (products * codes.scale).topk(k).indices
        nearest = products.mul_(-2).add_(squares).topk(k, largest=False).indices
        for row, indices in enumerate((nearest_by_angle, nearest)):
            right[row] += (majority_vote(codes.train_labels[indices], codes.classes) == labels).sum()
    cosine, euclidean = (right.double() / len(codes.test)).tolist()
    return Neighbours(cosine, euclidean)


def majority_vote(labels: Tensor, classes: int) -> Tensor:
    """The majority of each row; a nearer vote weighs more, by what can decide ties only.

    Args:
        labels: Classes of the neighbours, nearest first, shape [M, k].
        classes: How many there are.

    Returns:
        Shape [M].
    """
    k = labels.shape[1]
    weights = 1 + torch.linspace(1, 0, k, device=labels.device) / (4 * k)
    tally = torch.zeros(len(labels), classes, device=labels.device)
    return tally.scatter_add_(1, labels, weights.expand(labels.shape)).argmax(1)
