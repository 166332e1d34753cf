"""What items have in common that can share a batch. Knows neither models nor threads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.engine.priority import Priority
from service.engine.statistics import Statistics

__all__ = ["Lane"]

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Lane(Generic[P, R]):
    """Items that can share a batch.

    Attributes:
        run: Takes 1 to `max_batch` payloads and returns one result for each, in order.
        max_batch: At least 1.
        run_alone: The same, for a lone item that has the device to itself; None where there is no better way.
        priority: Of all its items.
        statistics: Told of every ticket and every run; lanes may share them.
    """

    run: Callable[[Sequence[P]], Sequence[R]]
    max_batch: int
    run_alone: Callable[[Sequence[P]], Sequence[R]] | None = None
    priority: Priority = "interactive"
    statistics: Statistics = field(default_factory=Statistics)

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"Expected batches of at least one item, found {self.max_batch}.")
