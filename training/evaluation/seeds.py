"""Several runs that differ in nothing but the seed: which may be averaged, and what their mean is worth."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from training.run_directory import RunRecord

__all__ = ["Figure", "over_images", "over_seeds", "refuse_unlike"]


@dataclass(frozen=True)
class Figure:
    """A number, and its standard error where there is one."""

    value: float
    error: float | None = None


def over_images(share: float, images: int) -> Figure:
    """A share of test images, with the binomial standard error √(p (1 − p) / n).

    Args:
        share: p, 0 to 1.
        images: n.
    """
    return Figure(share, (share * (1 - share) / images) ** 0.5)


def over_seeds(values: Sequence[float]) -> Figure:
    """The mean of runs of different seeds, with its standard error: their standard deviation (of n − 1) over √n.

    Args:
        values: One per run, at least two.
    """
    return Figure(fmean(values), stdev(values) / len(values) ** 0.5)


def refuse_unlike(records: Sequence[RunRecord]) -> None:
    """Raises ValueError unless the runs differ in their seeds, all of them, and in nothing else that changes results.

    Args:
        records: Of the runs.
    """
    seeds = [record.config.seed for record in records]
    if len(set(seeds)) < len(seeds):
        raise ValueError(
            f"expected runs of different seeds, found seeds {', '.join(map(str, seeds))}: the mean of a run with "
            "itself says nothing about chance; train again with another --seed, or evaluate the runs one by one"
        )
    first = _experiment(records[0])
    for record in records[1:]:
        other = _experiment(record)
        for key in sorted(first.keys() | other.keys()):
            if first.get(key) != other.get(key):
                raise ValueError(
                    f"expected runs that differ in nothing but the seed, found {key} = {first.get(key)} with seed "
                    f"{seeds[0]} and {other.get(key)} with seed {record.config.seed}; evaluate them one by one"
                )


def _experiment(record: RunRecord) -> dict[str, str]:
    """All that changes a run's result but its seed, by dotted key."""
    found: dict[str, str] = {}
    _flatten("", record.config.model_dump(mode="json", exclude={"seed"}), found)
    _flatten("input", record.input.model_dump(mode="json"), found)
    return {**found, "source": json.dumps(record.source), "training_images": str(record.images)}


def _flatten(prefix: str, value: object, into: dict[str, str]) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _flatten(f"{prefix}.{key}" if prefix else key, part, into)
    else:
        into[prefix] = json.dumps(value)
