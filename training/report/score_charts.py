"""Charts of content and style scores: representations of one run, or the latents of several, on the same lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes

from training.report.scores import probes
from training.report.style import GRID, INK, Picture, make_axes, settle, shorten

__all__ = ["Dots", "score_pictures"]

_MOST_FACTORS = 12


@dataclass(frozen=True)
class Dots:
    """What has one colour in a chart of scores.

    Attributes:
        label: Its name.
        colour: Of its points and its name.
        values: Value and standard error by the name of the score.
        seeds: The values of single seeds, likewise.
    """

    label: str
    colour: str
    values: Mapping[str, tuple[float, float | None]]
    seeds: Mapping[str, Sequence[float]] = field(default_factory=dict)


def score_pictures(series: Sequence[Dots], factors: Mapping[str, str], of_what: str) -> list[Picture]:
    """Content and style, each a chart if anything of it was measured.

    Args:
        series: What is compared.
        factors: Style factors, with how each is scored.
        of_what: What the probes look at, in words.
    """
    measured = {name for dots in series for name in dots.values}
    content = {name: name for name in probes() if name in measured}
    style: dict[str, str] = {}
    for factor, measure in factors.items():
        keys = [f"style {factor}, {probe}" for probe in ("MLP", "linear")]
        style |= {f"{factor} ({measure.partition(',')[0]})": key for key in keys[::-1] if key in measured}
    style = dict(list(style.items())[:_MOST_FACTORS])
    seeds = "; ticks are seeds" if any(dots.seeds for dots in series) else ""
    whiskers = f"Whiskers are 2 standard errors{seeds}."
    pictures = []
    if content:
        reading = f"The share of test images whose class a probe of {of_what} finds. {whiskers}"
        pictures.append(_chart("scores", content, series, "Content: accuracy of probes", reading))
    if style:
        reading = f"How well a probe of {of_what} (an MLP where there is one) finds how a view was made. {whiskers}"
        pictures.append(_chart("style", style, series, "Style: R² or accuracy of probes", reading))
    return pictures


def _chart(name: str, rows: Mapping[str, str], series: Sequence[Dots], title: str, reading: str) -> Picture:
    """Points on one line per score, with whiskers of two standard errors; `rows` is from labels to names of scores."""
    step = 0.62 / max(len(series) - 1, 1)
    figure, axes = make_axes(0.55 + 0.16 * len(series) + len(rows) * max(0.34, 0.13 * len(series)), grid="x")
    for order, dots in enumerate(series):
        shift = order * step - 0.31 if len(series) > 1 else 0.0
        for place, key in enumerate(rows.values()):
            if key not in dots.values:
                continue
            (value, error), y = dots.values[key], place + shift
            seeds = dots.seeds.get(key, ())
            axes.plot(seeds, [y] * len(seeds), "|", color=dots.colour, markersize=7)
            axes.errorbar(value, y, xerr=2 * (error or 0), fmt="o", color=dots.colour, markersize=5.5, elinewidth=1.8)
    for place in range(1, len(rows)):
        axes.axhline(place - 0.5, color=GRID, linewidth=0.8)
    axes.set_yticks(range(len(rows)), list(rows), color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    _name_series(axes, series)
    words = (
        f"{row}: " + ", ".join(f"{dots.label} {dots.values[key][0]:.3f}" for dots in series if key in dots.values)
        for row, key in rows.items()
    )
    return Picture(name, title, reading, f"{title}. {'; '.join(words)}.", settle(figure))


def _name_series(axes: Axes, series: Sequence[Dots]) -> None:
    """Names in their colours above the frame, in the order of the points within a row."""
    for order, dots in enumerate(reversed(series)):
        axes.annotate(
            f"● {shorten(dots.label, 40)}",
            (0, 1),
            (0, 5 + 12.5 * order),
            xycoords="axes fraction",
            textcoords="offset points",
            color=dots.colour,
            weight="bold",
            fontsize=9,
        )
