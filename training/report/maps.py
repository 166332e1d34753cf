"""Maps of the embedding: held-out images on a plane, as points coloured by class and as the images themselves."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from training.report.embedding import Codes, Embedded
from training.report.grids import Tile, compose
from training.report.style import BLUE, HALO, INK, PALETTE, WIDTH_IN, Picture, make_axes, settle, shorten, spread

__all__ = ["image_map", "label_map", "project"]

_FEW_CLASSES = 10
_TEN_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Source: Petroff, "Accessible Color Sequences for Data Visualization", arXiv 2107.02270, ten colours."""
_ITERATIONS = 750
_CELLS = 26
"""Of the map of images, along each side."""


def project(codes: Codes, seed: int) -> NDArray[np.float64]:
    """Places on a plane such that neighbours stay neighbours: t-SNE begun at the first two principal components.

    Args:
        codes: At least 5 of them, that vary.
        seed: Of what is random in it.

    Returns:
        Shape [N, 2].

    Source: Kobak, Linderman, "Initialization is critical for preserving global data structure", 2021.
    """
    centred = codes.astype(np.float64) - codes.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    start = np.zeros((len(codes), 2))
    start[:, : min(2, left.shape[1])] = (left * sizes)[:, :2]
    start *= 1e-4 / start[:, 0].std()
    tsne = TSNE(init=start, perplexity=min(30, (len(codes) - 1) / 3), random_state=seed, max_iter=_ITERATIONS)
    return np.asarray(tsne.fit_transform(centred.astype(np.float32)), np.float64)


def label_map(embedded: Embedded, places: NDArray[np.float64]) -> Picture:
    """The plane as points, coloured by class when there are classes.

    Args:
        embedded: The images.
        places: From `project`.
    """
    figure, axes = make_axes(WIDTH_IN * _proportion(places))
    _bare(axes)
    if embedded.labels is None:
        axes.scatter(places[:, 0], places[:, 1], s=9, color=BLUE, alpha=0.6, linewidth=0)
    else:
        _scatter_classes(axes, embedded, places)
    by_class = "" if embedded.labels is None else ", coloured by class"
    return Picture(
        "map",
        f"Map of the embedding{by_class} (t-SNE)",
        "Near points are near in the embedding; distances between clusters, and their sizes, mean little.",
        f"{len(places):,} held-out images as points on a plane{by_class}.",
        settle(figure),
    )


def image_map(embedded: Embedded, places: NDArray[np.float64]) -> Picture:
    """The plane as a grid of cells, each showing the image that lies nearest to its centre.

    Args:
        embedded: The images.
        places: From `project`.
    """
    low, high = places.min(0), places.max(0)
    size = np.array([_CELLS, round(_CELLS * _proportion(places))])
    scaled = (places - low) / (high - low).clip(1e-12) * (size - 1e-6)
    cells = scaled.astype(int)
    distance = np.square(scaled - cells - 0.5).sum(1)
    grid: list[list[Tile | None]] = [[None] * size[0] for _ in range(size[1])]
    for index in np.argsort(-distance, kind="stable"):  # the nearest comes last and stays
        column, row = cells[index]
        grid[size[1] - 1 - row][column] = embedded.images[index]
    figure, axes = make_axes(WIDTH_IN * size[1] / size[0])
    _bare(axes)
    axes.imshow(compose(grid, 1, 1, largest_px=32), interpolation="none")
    return Picture(
        "map-images",
        "The same map as images",
        "Every cell shows an image that lies there: neighbours should look alike, in whatever way the model cares for.",
        "Held-out images laid out by their embedding; similar ones lie together.",
        settle(figure),
    )


def _proportion(places: NDArray[np.float64]) -> float:
    """Height over width of what the points cover, within what looks well."""
    width, height = np.ptp(places, axis=0)
    return float(np.clip(height / max(width, 1e-12), 0.6, 1.2))


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[], aspect="equal")


def _scatter_classes(axes: Axes, embedded: Embedded, places: NDArray[np.float64]) -> None:
    """Points, with the name of each class at its middle; very many classes are written instead of coloured."""
    labels = np.asarray(embedded.labels)
    classes, first = np.unique(labels, return_index=True)
    colours = PALETTE if len(classes) <= len(PALETTE) else _TEN_COLOURS
    names = [embedded.name(index) for index in first]
    written = len(classes) > _FEW_CLASSES and max(map(len, names)) <= 2
    centres = []
    for order, (label, name) in enumerate(zip(classes, names, strict=True)):
        mine, colour = places[labels == label], colours[order % len(colours)]
        if written:
            for x, y in mine:
                axes.text(
                    x, y, name, color=colour, fontsize=6, ha="center", va="center", parse_math=False, in_layout=False
                )
        else:
            axes.scatter(mine[:, 0], mine[:, 1], s=9, color=colour, alpha=0.75, linewidth=0)
        centres.append(np.median(mine, 0))
    axes.set_xlim(places[:, 0].min() - 1, places[:, 0].max() + 1)
    axes.set_ylim(places[:, 1].min() - 1, places[:, 1].max() + 1)
    if written:
        return
    heights = spread([float(centre[1]) for centre in centres], gap=0.045 * float(np.ptp(places[:, 1])))
    for (x, _), y, name in zip(centres, heights, names, strict=True):
        text = shorten(name, 18)
        axes.text(x, y, text, color=INK, weight="bold", ha="center", va="center", path_effects=HALO, parse_math=False)
