"""Pictures of the embedding of held-out images: neighbours and spectrum. No decoder is needed.

Codes are posterior means, float32 of shape [N, D]; labels are class indices of shape [N].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from service.engine.images import Pixels
from training.report.grids import Mark, draw_grid
from training.report.style import BLUE, INK, Picture, make_axes, settle, shorten

__all__ = ["Embedded", "nearest", "neighbours", "spectrum"]

Codes = NDArray[np.float32]

_NEIGHBOURS = 9
_QUERIES = 8


@dataclass(frozen=True)
class Embedded:
    """Held-out images with their codes.

    Attributes:
        images: uint8 of shape [N, H, W, C].
        codes: Their embeddings.
        labels: Their classes, or None.
        class_names: By class index; empty without labels.
    """

    images: Pixels
    codes: Codes
    labels: NDArray[np.int64] | None = None
    class_names: Sequence[str] = ()

    def first(self, count: int) -> "Embedded":
        """The first so many of them."""
        labels = None if self.labels is None else self.labels[:count]
        return Embedded(self.images[:count], self.codes[:count], labels, self.class_names)

    def name(self, index: int) -> str:
        """The class of an image, in words."""
        if self.labels is None:
            return ""
        label = int(self.labels[index])
        return self.class_names[label] if label < len(self.class_names) else str(label)


def neighbours(embedded: Embedded) -> Picture:
    """A few images, each beside the nine others whose embeddings are nearest by cosine."""
    queries = _queries(embedded)
    found = nearest(embedded.codes, queries, min(_NEIGHBOURS, len(embedded.codes) - 1))
    rows = [[embedded.images[query], None, *embedded.images[near]] for query, near in zip(queries, found, strict=True)]
    labels = embedded.labels
    marks = [
        Mark(row, column + 2, shorten(embedded.name(index), 8))
        for row, near in enumerate(found)
        for column, index in enumerate(near)
        if labels is not None and labels[index] != labels[queries[row]]
    ]
    reading = "The first column asks, the others are the nearest embeddings among held-out images, by cosine."
    if labels is not None:
        reading += " A frame with a name marks a neighbour of another class; the model never saw a class."
    share = f" {1 - len(marks) / found.size:.0%} are of the query's class." if labels is not None else ""
    return Picture(
        "neighbours",
        "Nearest neighbours",
        reading,
        f"{len(queries)} held-out images, each with its {found.shape[1]} nearest neighbours.{share}",
        draw_grid(rows, [shorten(embedded.name(query), 11) for query in queries], marks=marks),
    )


def nearest(codes: Codes, queries: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The codes of highest cosine with some of them, the query itself left out.

    Args:
        codes: Shape [N, D].
        queries: Which of them ask, shape [Q].
        count: How many to find, less than N.

    Returns:
        Indices, the nearest first, shape [Q, count].
    """
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True).clip(1e-12)
    cosine = unit[queries] @ unit.T
    cosine[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count]


def spectrum(codes: Codes, rank_me: float | None) -> Picture:
    """The shares of the embedding's variance along its principal axes.

    Args:
        codes: At least two.
        rank_me: Effective rank, written into the picture when known.
    """
    values = np.linalg.svd(codes - codes.mean(0), compute_uv=False) ** 2
    shares = values[: codes.shape[1]] / max(values.sum(), 1e-30)
    axis = np.arange(1, len(shares) + 1)
    figure, axes = make_axes(3.1)
    axes.fill_between(axis, 1e-9, shares.clip(1e-9), color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(axis, shares.clip(1e-9), color=BLUE, marker="o", markersize=3.5, linewidth=1.5)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_ylim(max(shares.min() / 2, 1e-6), 1)
    axes.set_xlabel("principal axis")
    axes.set_ylabel("share of variance")
    if rank_me is not None:
        text = f"RankMe {rank_me:.1f} of {codes.shape[1]}"
        axes.text(0.98, 0.94, text, transform=axes.transAxes, ha="right", va="top", color=INK, weight="bold")
    return Picture(
        "spectrum",
        "Spectrum of the embedding",
        "A flat line uses all dimensions alike; a cliff means that dimensions behind it are unused.",
        f"The first of {len(shares)} axes holds {shares[0]:.0%} of the variance, the last {shares[-1]:.2%}.",
        settle(figure),
    )


def _queries(embedded: Embedded) -> NDArray[np.int64]:
    """The first image of each of the first classes, or the first images."""
    if embedded.labels is None:
        return np.arange(min(_QUERIES, len(embedded.images)))
    return np.unique(embedded.labels, return_index=True)[1][:_QUERIES]
