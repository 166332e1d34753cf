"""Several runs side by side: which belong together as seeds, what their configurations differ in, what they reached.

It refuses to set figures beside each other that were measured differently; it knows no pictures and no HTML.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from training.report.page import Cell, Table
from training.report.scores import Better, Score, read_evaluation, scores
from training.report.tables import flat_settings
from training.run_directory import RunDirectory, RunError, RunRecord

__all__ = [
    "Contender",
    "Member",
    "averages",
    "budgets",
    "comparison_table",
    "contenders",
    "differences",
    "read_members",
]

_BASELINES = ("PCA", "raw pixels")
"""The same for every run, and so the last rows of a table."""
_SECTIONS = {"likelihood": "bounds of the likelihood", "health": "health, without labels", "similarity": "similarity"}


@dataclass(frozen=True)
class Member:
    """One evaluated run."""

    run: RunDirectory
    record: RunRecord
    evaluation: dict[str, Any]
    rows: list[dict[str, float]]


_MUST_AGREE: tuple[tuple[str, Callable[[Member], object]], ...] = (
    ("source", lambda member: member.record.source),
    ("number of training images", lambda member: member.record.images),
    ("image shape", lambda member: member.record.input.shape),
    ("number of test images", lambda member: member.evaluation["test_images"]),
    ("number of images that probes were fitted on", lambda member: member.evaluation["train_images"]),
)


@dataclass(frozen=True)
class Contender:
    """One configuration with all its seeds.

    Attributes:
        label: Its name, from those of its runs.
        members: Runs that differ in the seed alone.
    """

    label: str
    members: tuple[Member, ...]

    @property
    def record(self) -> RunRecord:
        """The first member's."""
        return self.members[0].record


def read_members(runs: Sequence[RunDirectory]) -> list[Member]:
    """Reads evaluated runs that can be compared.

    Raises:
        RunError: A run is not evaluated, is given twice, or saw other data or another protocol than the first.
    """
    members = [Member(run, run.record(), read_evaluation(run), run.read_metrics()) for run in runs]
    places = [member.run.path.resolve() for member in members]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise RunError(f"{twice}: expected every run once, found it twice")
    first = members[0]
    for member in members[1:]:
        for what, of in _MUST_AGREE:
            if of(member) != of(first):
                raise RunError(
                    f"{member.run.path}: expected the same {what} as {first.run.path}, {of(first)}, found "
                    f"{of(member)}; figures measured on different images cannot be compared"
                )
    return members


def contenders(members: Sequence[Member]) -> list[Contender]:
    """Puts seeds of one configuration together, in the order given.

    Runs of one configuration and seed that different versions of the code made are different contenders.

    Raises:
        RunError: Two runs are the same in configuration, seed and code; averaging them would pretend to two seeds.
    """
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(_without_seed(member), []).append(member)
    separate: list[list[Member]] = []
    for group in groups.values():
        if len({member.record.config.seed for member in group}) == len(group):
            separate.append(group)
            continue
        versions: dict[str, list[Member]] = {}
        for member in group:
            versions.setdefault(member.record.code_version, []).append(member)
        separate += versions.values()
    for group in separate:
        _refuse_repeats(group)
    names = [_common_name([member.run.name for member in group]) for group in separate]
    labels = [
        name if names.count(name) == 1 else group[0].run.name for name, group in zip(names, separate, strict=True)
    ]
    return [Contender(label, tuple(group)) for label, group in zip(labels, separate, strict=True)]


def differences(groups: Sequence[Contender]) -> list[tuple[str, list[str]]]:
    """Settings in which the contenders differ, with the value of each; the seed is none."""
    settings = [{**flat_settings(group.record), "code": group.record.code_version} for group in groups]
    keys = [key for key in settings[0] if key != "seed" and len({each[key] for each in settings}) > 1]
    return [(key, [each[key] for each in settings]) for key in keys]


def budgets(groups: Sequence[Contender]) -> list[int]:
    """Views each contender was trained on, the most of its seeds."""
    return [max(int(member.rows[-1]["views"]) if member.rows else 0 for member in group.members) for group in groups]


def averages(groups: Sequence[Contender]) -> dict[tuple[str, str], list[Cell]]:
    """Every figure that any run has, by section and name: one cell per contender, the mean over its seeds.

    A single seed has the standard error over test images, where there is one, and is marked.
    """
    found = [[scores(member.evaluation) for member in group.members] for group in groups]
    keys = dict.fromkeys((score.section, score.name) for group in found for seed in group for score in seed)
    cells = {}
    for key in keys:
        each = [[score for seed in group for score in seed if (score.section, score.name) == key] for group in found]
        better = None if key[0] in _BASELINES else next(score.better for seeds in each for score in seeds)
        cells[key] = _with_best([_average(seeds) for seeds in each], better)
    return cells


def comparison_table(groups: Sequence[Contender]) -> Table:
    """All `averages`, with a heading per section and a note on how to read them."""
    cells = averages(groups)
    rows: list[tuple[str, Sequence[Cell]]] = []
    for section in sorted(dict.fromkeys(section for section, _ in cells), key=_BASELINES.__contains__):
        rows.append((_SECTIONS.get(section, section), ()))
        rows += [(name, of_row) for (owner, name), of_row in cells.items() if owner == section]
    notes = ["Mean over seeds ± its standard error."]
    if any(len(group.members) == 1 for group in groups):
        notes.append("¹ One seed only: ± is the standard error over test images and says nothing of other seeds.")
    notes.append("Set off: the best mean of a row, and all within two standard errors of the difference to it.")
    counts = [f"{len(group.members)} {'seed' if len(group.members) == 1 else 'seeds'}" for group in groups]
    heads = ("", *(f"{group.label} ({count})" for group, count in zip(groups, counts, strict=True)))
    return Table(heads, rows, notes)


def _average(seeds: Sequence[Score]) -> Cell:
    if not seeds:
        return Cell()
    if len(seeds) == 1:
        return Cell(seeds[0].value, seeds[0].error, mark="¹")
    values = np.array([score.value for score in seeds])
    return Cell(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


def _with_best(cells: list[Cell], better: Better) -> list[Cell]:
    """Sets off the best cell, and those that cannot be told from it."""
    sign = {"higher": 1, "lower": -1, None: 0}[better]
    present = [(sign * cell.value, cell.error or 0) for cell in cells if cell.value is not None]
    if not sign or len(present) < 2:
        return cells
    top, error = max(present)

    def is_best(cell: Cell) -> bool:
        return cell.value is not None and top - sign * cell.value <= 2 * math.hypot(error, cell.error or 0)

    return [replace(cell, best=is_best(cell)) for cell in cells]


def _without_seed(member: Member) -> str:
    record = member.record  # of which the input is not all in the configuration: an older run's decides for itself
    return record.config.model_copy(update={"seed": 0}).model_dump_json() + record.input.model_dump_json()


def _refuse_repeats(group: Sequence[Member]) -> None:
    seen: dict[int, Member] = {}
    for member in group:
        other = seen.setdefault(member.record.config.seed, member)
        if other is not member:
            raise RunError(
                f"{member.run.path}: expected another seed than that of {other.run.path}, which has the same "
                f"configuration and code, found {member.record.config.seed} in both; give one of "
                "them, or train it with another --seed"
            )


def _common_name(names: Sequence[str]) -> str:
    """What the names of seeds have in common, without the `-seed` that remains at its end."""
    if len(names) == 1:
        return names[0]
    common = "".join(
        each[0] for each in itertools.takewhile(lambda each: len(set(each)) == 1, zip(*names, strict=False))
    )
    stem = re.sub(r"([-_. ](seed|s)?[-_. ]?|seed)$", "", common)
    return stem or names[0]
