"""What a probe is asked to read from an embedding: a category or a number for every item, and how well it did."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Target", "accuracy", "r_squared"]


@dataclass(frozen=True)
class Target:
    """One value per item, of training and test items.

    Attributes:
        name: What it is.
        train: Shape [N]; integers (categories counted from 0) or floating-point numbers.
        test: Shape [M], likewise.
    """

    name: str
    train: NDArray[Any]
    test: NDArray[Any]

    @property
    def categorical(self) -> bool:
        """Whether the values are categories; else they are numbers."""
        return bool(np.issubdtype(self.train.dtype, np.integer))

    @property
    def classes(self) -> int:
        """How many categories there are, in both sets."""
        return int(max(self.train.max(), self.test.max())) + 1

    @property
    def constant(self) -> bool:
        """Whether there is nothing to learn: all training values are the same, or some value is not finite."""
        values = np.concatenate([self.train, self.test]).astype(np.float64)
        return bool(not np.isfinite(values).all() or np.ptp(self.train) < 1e-6 or np.ptp(self.test) < 1e-6)

    @property
    def chance(self) -> float:
        """The accuracy on the test items of always naming the most common category of the training items, 0 to 1."""
        return accuracy(self.test, np.full_like(self.test, np.bincount(self.train).argmax()))

    def score(self, predicted: NDArray[Any]) -> float:
        """How well the test items were predicted: accuracy of categories, R² of numbers; shape [M]."""
        return accuracy(self.test, predicted) if self.categorical else r_squared(self.test, predicted)


def accuracy(true: NDArray[Any], predicted: NDArray[Any]) -> float:
    """The share of items that are right, 0 to 1; both of shape [M]."""
    return float((true == predicted).mean())


def r_squared(true: NDArray[Any], predicted: NDArray[Any]) -> float:
    """R² = 1 − Σ(true − predicted)² / Σ(true − mean)²: 1 is perfect, 0 the constant mean, and it is clipped nowhere.

    Args:
        true: Shape [M], not all the same.
        predicted: Shape [M].
    """
    true = true.astype(np.float64)
    return float(1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum())
