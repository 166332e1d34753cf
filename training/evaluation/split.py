"""Which training images choose a probe's settings. The test set never does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "choose_items", "split_training"]

Indices = NDArray[np.int64]

_EVERY = 10
"""One training image in ten is for validation."""


@dataclass(frozen=True)
class Split:
    """Training items, cut in two.

    Attributes:
        fit: Indices of those that a candidate setting is fitted on, ascending.
        validation: Indices of those that the candidates are compared on, ascending; empty when there are too few.
    """

    fit: Indices
    validation: Indices


def split_training(labels: NDArray[np.integer], seed: int) -> Split:
    """Sets a tenth of the training items aside, and of every class a tenth, to within one item.

    In a random order sorted by class, every tenth item is for validation. With fewer than ten items there is no
    validation, and of every list of candidates the first is taken.

    Args:
        labels: Classes of the training items, shape [N]; all the same for a split that heeds none.
        seed: Decides which.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    chosen = np.zeros(len(labels), bool)
    chosen[by_class[_EVERY // 2 :: _EVERY]] = len(labels) >= _EVERY
    return Split(np.flatnonzero(~chosen), np.flatnonzero(chosen))


def choose_items(count: int, most: int, seed: int) -> Indices:
    """At most so many of `count` items, by chance, ascending: files are often sorted by class.

    Args:
        count: How many there are.
        most: How many are wanted.
        seed: Decides which.
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
