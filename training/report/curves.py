"""Curves of one run or of several together: what `metrics.jsonl` holds, over the views seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes

from training.report.style import BLUE, INK, MUTED, Picture, count_axis, make_axes, settle, shorten, spread

__all__ = ["Curve", "Rows", "compare_curves", "run_curves"]

Rows = Sequence[Mapping[str, float]]
"""Lines of `metrics.jsonl`."""

_HELD_OUT = "held_out_"
_NOT_DRAWN = {"epoch", "step", "views", "elapsed_s", "learning_rate", "log_likelihood", "alarms"}
_MEAN_IMAGE = "mean_image_squared_error"
_SETTINGS = {"rho", "sigma_x"}
"""Drawn when they are learned, which is when they change."""
_LABEL_GAP = 0.085
"""Least distance of two labels, as a share of the frame's height."""


@dataclass(frozen=True)
class _Panel:
    title: str
    reading: str
    from_zero: bool = True
    target: float | None = None


_PANELS = {
    "elbo": _Panel(
        "ELBO, nats per view", "Higher is better; a falling held-out curve is overfitting.", from_zero=False
    ),
    "loss": _Panel("Loss", "Lower is better; losses of different objectives cannot be compared.", from_zero=False),
    "kl": _Panel("KL, nats per view", "How much of each view the latents carry; near 0 means they carry nothing."),
    "squared_error": _Panel("Squared error per pixel", "Lower means sharper reconstructions, 0 perfect ones."),
    "active_units": _Panel("Active units", "Latent dimensions in use; a fall towards 0 is collapse."),
    "rank_me": _Panel("RankMe", "Effective number of dimensions of the embedding; a fall is dimensional collapse."),
    "virial_ratio": _Panel("Virial ratio", "1 when the scale of the latents has converged.", from_zero=False, target=1),
    "rho": _Panel("ρ, correlation of views", "Learned: how much of the latents the views of one image share."),
    "sigma_x": _Panel(
        "σ_x, pixel noise", "Learned: the error the model expects of its own reconstructions, per pixel."
    ),
    "invariance": _Panel("Invariance term", "Squared distance of the projections of two views; lower is closer."),
    "variance": _Panel("Variance term", "How far the projections' deviations fall short of 1; 0 is no collapse."),
    "covariance": _Panel(
        "Covariance term", "Squared covariances of the projections' dimensions; lower is less redundant."
    ),
    "embedding_std": _Panel("Deviation of the embedding", "A fall towards 0 is collapse: all images alike."),
}
"""What is known of a key; any other is drawn under its own name, after these."""


@dataclass(frozen=True)
class Curve:
    """What has one colour and one label: a run, or the seeds of a configuration.

    Attributes:
        label: Its name beside the end; empty where nothing else is in the frame.
        colour: Of the line and the name.
        lines: Views seen and values, one pair per seed.
    """

    label: str
    colour: str
    lines: list[tuple[list[float], list[float]]] = field(default_factory=list)


def run_curves(rows: Rows) -> list[Picture]:
    """Every measured figure of one run, training and held-out views together.

    Args:
        rows: Lines of `metrics.jsonl`; whatever keys the objective wrote are drawn.
    """
    pictures = []
    for key in _drawn_keys(rows):
        pairs = (("training", MUTED, _line(rows, key)), ("held out", BLUE, _line(rows, _HELD_OUT + key)))
        curves = [Curve(label, colour, [line]) for label, colour, line in pairs if line[0]]
        pictures.append(_picture(key, curves if len(curves) > 1 else [replace(curves[0], label="")]))
    return pictures


def compare_curves(runs: Sequence[tuple[str, str, Sequence[Rows]]]) -> list[Picture]:
    """Every figure that at least one run measured, one colour per configuration; held-out views where there are any.

    Args:
        runs: Label, colour and the metrics of each seed, per configuration.
    """
    keys = dict.fromkeys(key for _, _, seeds in runs for rows in seeds for key in _drawn_keys(rows))
    pictures = []
    for key in sorted(keys, key=_rank):
        held_out = any(_line(rows, _HELD_OUT + key)[0] for *_, seeds in runs for rows in seeds)
        source = _HELD_OUT + key if held_out else key
        drawn = [(label, colour, [rows for rows in seeds if key in _drawn_keys(rows)]) for label, colour, seeds in runs]
        curves = [Curve(label, colour, [_line(rows, source) for rows in seeds]) for label, colour, seeds in drawn]
        present = [replace(curve, lines=[line for line in curve.lines if line[0]]) for curve in curves]
        pictures.append(_picture(key, [curve for curve in present if curve.lines]))
    return pictures


def _drawn_keys(rows: Rows) -> list[str]:
    """What there is to draw; the loss only where there is no bound, of which it is the negative."""
    keys = dict.fromkeys(key.removeprefix(_HELD_OUT) for row in rows for key in row)
    hidden = {*_NOT_DRAWN, _MEAN_IMAGE, *(("loss",) if "elbo" in keys else ())}
    hidden |= {key for key in _SETTINGS if len(set(_line(rows, key)[1])) < 2}
    drawn = [key for key in keys if key not in hidden and (_line(rows, key)[0] or _line(rows, _HELD_OUT + key)[0])]
    return sorted(drawn, key=_rank)


def _rank(key: str) -> int:
    known = list(_PANELS)
    return known.index(key) if key in _PANELS else len(known)


def _line(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    """Views and values of the rows that have the key and a finite value."""
    pairs = [(row["views"], row[key]) for row in rows if row.get(key) is not None]
    kept = [(float(x), float(y)) for x, y in pairs if x is not None and y is not None and np.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _picture(key: str, curves: list[Curve]) -> Picture:
    panel = _PANELS.get(key) or _Panel(
        key.replace("_", " ").capitalize(), "As the objective reports it.", from_zero=False
    )
    figure, axes = make_axes(2.9, width_in=4.4)
    for curve in curves:
        _draw(axes, curve)
    if panel.target is not None:
        axes.axhline(panel.target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    _frame(axes, curves, from_zero=panel.from_zero)
    _label_ends(axes, curves)
    axes.set_xlabel("views seen")
    count_axis(axes)
    ends = "; ".join(f"{curve.label} ends at {_end(curve):.4g}".strip() for curve in curves)
    return Picture(
        f"curve-{key.replace('_', '-')}", panel.title, panel.reading, f"{panel.title}: {ends}.", settle(figure)
    )


def _draw(axes: Axes, curve: Curve) -> None:
    """The one line, or the mean of all over faint ones; seeds that were stopped at different times have no mean."""
    averaged = len(curve.lines) > 1 and len({tuple(x) for x, _ in curve.lines}) == 1
    marker = "o" if len(curve.lines[0][0]) <= 15 else ""
    for x, y in curve.lines:
        if averaged:
            axes.plot(x, y, color=curve.colour, linewidth=1, alpha=0.35)
        else:
            axes.plot(x, y, color=curve.colour, linewidth=1.8, marker=marker, markersize=3)
    if averaged:
        mean = np.mean([y for _, y in curve.lines], axis=0)
        axes.plot(curve.lines[0][0], mean, color=curve.colour, linewidth=2, marker=marker, markersize=3)


def _frame(axes: Axes, curves: list[Curve], *, from_zero: bool) -> None:
    """Limits that show the course of training: wild first epochs may leave the frame, and a note says so."""
    x = np.concatenate([line[0] for curve in curves for line in curve.lines])
    y = np.concatenate([line[1] for curve in curves for line in curve.lines])
    late = y[x >= 0.1 * x.max()]
    clipped = np.ptp(y) > 4 * np.ptp(late) > 0
    shown = late if clipped else y
    low, high = float(shown.min()), float(shown.max())
    margin = 0.06 * (high - low or abs(high) or 1)
    low = 0 if from_zero and low >= 0 else low - margin
    axes.set_ylim(low, high + margin)
    axes.set_xlim(left=0)
    if clipped:
        words = f"begins at {y[0]:,.4g}, outside"
        axes.annotate(
            words,
            (1, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=8.5,
        )


def _label_ends(axes: Axes, curves: list[Curve]) -> None:
    low, high = axes.get_ylim()
    places = spread([(_end(curve) - low) / (high - low) for curve in curves], _LABEL_GAP)
    for curve, place in zip(curves, places, strict=True):
        axes.annotate(
            shorten(curve.label),
            (1, place),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=curve.colour,
            weight="bold",
            fontsize=9,
        )


def _end(curve: Curve) -> float:
    return float(np.mean([values[-1] for _, values in curve.lines]))
