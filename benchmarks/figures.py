"""Means over seeds with their standard errors, and what a difference of two of them shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figure", "ahead", "difference", "summarise"]


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and its standard error, NaN for one seed."""

    mean: float
    error: float

    def __str__(self) -> str:
        spread = "" if math.isnan(self.error) else f" ± {100 * self.error:.2f}"
        return f"{100 * self.mean:.2f}{spread}"


def summarise(values: Sequence[float]) -> Figure:
    """Mean and standard error of the mean of independent values."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Figure(mean, math.nan)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Figure(mean, math.sqrt(variance / len(values)))


def difference(one: Figure, other: Figure) -> Figure:
    """One minus the other, of independent runs."""
    return Figure(one.mean - other.mean, math.hypot(one.error, other.error))


def ahead(found: Figure) -> bool:
    """Whether a difference is above zero by more than two of its standard errors; one seed shows nothing."""
    return found.mean > 2 * found.error
