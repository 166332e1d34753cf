"""Charts of what evaluation measured of the model: its calibration, and what each latent dimension carries."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.report.style import BLUE, GRID, MUTED, ORANGE, Picture, make_axes, settle

__all__ = ["dimensions", "reliability", "wilson"]

Floats = NDArray[np.float64]


def reliability(bins: Sequence[Mapping[str, float]]) -> Picture:
    """How often pairs really share content, by the probability the model gave, with how many pairs were given it.

    Args:
        bins: `predicted`, `observed` and `count` of each; empty bins are left out.
    """
    kept = [row for row in bins if row["count"]]
    predicted, observed, count = (
        np.array([row[key] for row in kept], np.float64) for key in ("predicted", "observed", "count")
    )
    figure, axes = make_axes(4.6, grid="both")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.bar(predicted, 0.22 * count / count.max(), width=0.05, color=GRID, zorder=1)
    low, high = wilson(observed, count)
    axes.vlines(predicted, low, high, color=BLUE, linewidth=1.8)
    axes.plot(predicted, observed, "o-", color=BLUE, markersize=5.5, linewidth=1.2)
    for x, pairs in zip(predicted, count, strict=True):
        text, height = f"{pairs:,.0f}", 0.22 * pairs / count.max()
        axes.annotate(text, (x, height), (0, 2), textcoords="offset points", ha="center", fontsize=7, color=MUTED)
    axes.set(xlim=(-0.03, 1.03), ylim=(0, 1.03))
    axes.set_xlabel("predicted probability of the same content")
    axes.set_ylabel("observed share")
    error = float(np.sum(count * np.abs(predicted - observed)) / count.sum())
    return Picture(
        "reliability",
        "Reliability of the similarity",
        "On the dashed line a predicted probability is as often right as it says; grey bars count the pairs.",
        f"Reliability diagram over {count.sum():,.0f} pairs; the mean distance to the diagonal is {error:.3f}.",
        settle(figure),
    )


def dimensions(kl: Sequence[float], rho: Sequence[float] | None) -> Picture:
    """What each latent dimension carries: its KL as bars, and its correlation between views as points.

    Args:
        kl: Nats per view, shape [D].
        rho: One correlation per dimension; a single one for all is not drawn.
    """
    order = np.argsort(-np.asarray(kl), kind="stable")
    values, axis = np.asarray(kl)[order], np.arange(1, len(kl) + 1)
    figure, axes = make_axes(3.1)
    axes.bar(axis, values, width=0.8, color=BLUE)
    axes.set_xlabel("latent dimension, most informative first")
    axes.set_ylabel("KL, nats per view")
    reading = "Tall bars carry much of the image, bars near 0 nothing."
    if rho is not None and len(rho) == len(kl) > 1:
        axes.set_ylabel("KL, nats per view", color=BLUE)
        other = axes.twinx()
        other.plot(axis, np.asarray(rho)[order], "o", color=ORANGE, markersize=4)
        other.set(ylim=(0, 1.02))
        other.set_ylabel("ρ", color=ORANGE, rotation=0)
        other.tick_params(colors=MUTED, length=0)
        other.spines[:].set_visible(False)
        reading += (
            " Points: how much of a dimension two views of one image share, 1 all of it (content), 0 none (style)."
        )
    carried = int((values > 0.05).sum())
    return Picture(
        "dimensions",
        "What each latent dimension carries",
        reading,
        f"KL of {len(values)} dimensions, from {values[0]:.2f} to {values[-1]:.2f} nats; {carried} carry over 0.05.",
        settle(figure),
    )


def wilson(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Low and high ends of the 95 % interval of a share.

    Args:
        share: What was observed, shape [N].
        count: Of how many, shape [N].

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return centre - half, centre + half
