"""The page that compares runs: their figures, curves, and reconstructions of the same held-out images."""

from collections.abc import Sequence
from pathlib import Path

import torch

from training.datasets.image_set import Source
from training.generative import GenerativeModel
from training.report.comparison import Contender, averages, budgets, comparison_table, differences
from training.report.curves import Rows, compare_curves
from training.report.grids import Tile, draw_grid
from training.report.page import Gallery, write_page
from training.report.score_charts import Dots, score_pictures
from training.report.scores import scores, style_measures
from training.report.style import MUTED, PALETTE, Picture, shorten
from training.restore import decode_latents, encode_images, load_run

__all__ = ["write_comparison"]

_COLUMNS = 10
_COLOURS = (*PALETTE, MUTED)


def write_comparison(groups: Sequence[Contender], source: Source, out: Path, device: torch.device) -> None:
    """Draws the contenders and writes the page.

    Args:
        groups: From `training.report.comparison.contenders`.
        source: Their images.
        out: The HTML file.
        device: Where to compute.
    """
    colours = [_COLOURS[index % len(_COLOURS)] for index in range(len(groups))]
    members = [member for group in groups for member in group.members]
    pictures = score_pictures(_dots(groups, colours), style_measures(members[0].evaluation), "the latents")
    content = {
        "groups": list(zip(groups, colours, budgets(groups), strict=True)),
        "source": source,
        "evaluation": members[0].evaluation,
        "warnings": _warnings(groups),
        "alarms": [(each.run.name, alarm) for each in members for alarm in each.evaluation["health"]["alarms"]],
        "differences": differences(groups),
        "table": comparison_table(groups),
        "glance": Gallery("At a glance", [*_reconstructions(groups, source, device), *pictures]),
        "curves": Gallery("How they learned", compare_curves(_named_rows(groups, colours)), small=True),
    }
    write_page(out, "compare.html", content)


def _named_rows(groups: Sequence[Contender], colours: Sequence[str]) -> list[tuple[str, str, list[Rows]]]:
    return [
        (group.label, colour, [member.rows for member in group.members])
        for group, colour in zip(groups, colours, strict=True)
    ]


def _warnings(groups: Sequence[Contender]) -> list[str]:
    """What makes some of the figures unfit to be compared."""
    found = []
    if len(set(budgets(groups))) > 1:
        views = ", ".join(f"{group.label} {views:,}" for group, views in zip(groups, budgets(groups), strict=True))
        found.append(f"The runs had different budgets, in views seen: {views}.")
    generative = [group for group in groups if group.members[0].evaluation["likelihood"]]
    objectives = [group.record.config.objective for group in generative]
    likelihoods = {(objective.likelihood, objective.sigma_x) for objective in objectives}
    if len(likelihoods) > 1:
        found.append("The runs have different pixel likelihoods: compare their bounds with care, not their losses.")
    if min(len(group.members) for group in groups) == 1:
        found.append("A single seed shows no spread: differences as small as those between seeds may be chance.")
    return found


def _dots(groups: Sequence[Contender], colours: Sequence[str]) -> list[Dots]:
    """The scores of every contender's latents, with its seeds where there are several."""
    cells = {name: row for (section, name), row in averages(groups).items() if section == "latents"}
    series = []
    for order, (group, colour) in enumerate(zip(groups, colours, strict=True)):
        own = {name: (row[order].value, row[order].error) for name, row in cells.items()}
        found = [score for member in group.members for score in scores(member.evaluation) if score.section == "latents"]
        seeds = {name: [score.value for score in found if score.name == name] for name in cells}
        values = {name: (value, error) for name, (value, error) in own.items() if value is not None}
        series.append(Dots(group.label, colour, values, seeds if len(group.members) > 1 else {}))
    return series


def _reconstructions(groups: Sequence[Contender], source: Source, device: torch.device) -> list[Picture]:
    """The same held-out images as every contender with a decoder draws them; nothing when none has one."""
    images = source.test.images[:_COLUMNS]
    rows: list[list[Tile | None]] = [list(images)]
    names = ["image"]
    for group in groups:
        model = load_run(group.members[0].run, device).model
        if isinstance(model, GenerativeModel):
            rows.append(list(decode_latents(model, encode_images(model, images, device), device)))
            names.append(shorten(group.label, 16))
    if len(rows) == 1:
        return []
    picture = Picture(
        "reconstructions",
        "The same held-out images, reconstructed",
        "The first row are the images, each other row is what one configuration (its first seed) makes of them.",
        f"{len(images)} held-out images and their reconstructions by {', '.join(names[1:])}.",
        draw_grid(rows, names),
    )
    return [picture]
