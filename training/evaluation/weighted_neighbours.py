"""Nearest neighbours by angle whose votes count for more the nearer they are: Wu et al., arXiv 1805.01978.

How many vote, and how steeply a vote falls off, is chosen on a tenth of the training items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.evaluation.probes import QUERIES, Codes
from training.evaluation.split import Split

__all__ = ["COUNTS", "TEMPERATURES", "WeightedNeighbours", "weighted_neighbours"]

COUNTS = (5, 10, 20, 50)
"""Candidates for k."""
TEMPERATURES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Candidates for τ; at 1 all votes are nearly equal."""


@dataclass(frozen=True)
class WeightedNeighbours:
    """What weighted votes reached on the test items.

    Attributes:
        accuracy: Share of the test items.
        count: k, chosen on the validation items.
        temperature: τ, likewise.
    """

    accuracy: float
    count: int
    temperature: float


def weighted_neighbours(codes: Codes, split: Split) -> WeightedNeighbours:
    """Each of the k nearest training items votes for its class with a weight of exp(cosine / τ).

    Args:
        codes: Features and labels.
        split: Which training items choose k and τ, looking among the others; the test items look among all.
    """
    held = torch.from_numpy(split.validation).to(codes.train.device)
    best = _right(codes, codes.train[held], codes.train_labels[held], hidden=held).flatten().argmax().item()
    row, column = divmod(int(best), len(TEMPERATURES))
    right = _right(codes, codes.test, codes.test_labels)[row, column].item()
    return WeightedNeighbours(right / len(codes.test), COUNTS[row], TEMPERATURES[column])


def _right(codes: Codes, queries: Tensor, labels: Tensor, hidden: Tensor | None = None) -> Tensor:
    """How many queries every k and τ classify rightly, shape [len(COUNTS), len(TEMPERATURES)].

    Args:
        codes: Whose training items vote.
        queries: Shape [M, F].
        labels: Their classes, shape [M].
        hidden: Indices of training items that do not vote.
    """
    most = min(max(COUNTS), len(codes.train) - (0 if hidden is None else len(hidden)))
    right = torch.zeros(len(COUNTS), len(TEMPERATURES), dtype=torch.int64, device=queries.device)
    for some, own in zip(torch.split(queries, QUERIES), torch.split(labels, QUERIES), strict=True):
        cosines = (normalize(some) @ codes.train.T).mul_(codes.scale)
        if hidden is not None:
            cosines[:, hidden] = -torch.inf
        nearest, indices = cosines.topk(most)
        classes = codes.train_labels[indices]
        for column, temperature in enumerate(TEMPERATURES):
            weights = ((nearest - nearest[:, :1]) / temperature).exp()
            for row, count in enumerate(COUNTS):
                tally = torch.zeros(len(own), codes.classes, device=queries.device)
                tally.scatter_add_(1, classes[:, :count], weights[:, :count])
                right[row, column] += (tally.argmax(1) == own).sum()
    return right
