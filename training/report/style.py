"""The look of every picture: colours, frames, and files that are readable on light and dark paper.

A picture is written twice: as PNG on white, to be pasted anywhere, and as SVG whose ink follows the reader's theme, for
the report. It knows matplotlib and nothing of runs.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

__all__ = [
    "BLUE",
    "GRID",
    "HALO",
    "INK",
    "MUTED",
    "ORANGE",
    "PALETTE",
    "PAPER",
    "WIDTH_IN",
    "Picture",
    "as_svg",
    "count_axis",
    "make_axes",
    "save_png",
    "settle",
    "shorten",
    "spread",
]

INK, MUTED, GRID, PAPER = "#1b1f24", "#5d6570", "#d5dae0", "#fefefe"
"""Text, secondary text, lines behind the data, background; nothing else may have exactly these colours."""
BLUE, ORANGE, SKY = "#0072b2", "#d55e00", "#56b4e9"
_THEMED = {
    INK: ("--ink", "#e6e9ed"),
    MUTED: ("--muted", "#a4acb6"),
    GRID: ("--grid", "#3a4149"),
    PAPER: ("--paper", "#1a1e23"),
    BLUE: ("--blue", "#3d94d6"),  # on black the blue of print is too dark to read
    SKY: ("--sky", "#a3d8f6"),
}
"""What changes with the theme: a name, and the colour on dark."""
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", SKY)
"""The Okabe-Ito colours that stand out on white and on black, told apart by colour-blind readers too.

Source: Okabe, Ito, "Color Universal Design", 2008.
"""
_TITLE_IN = 0.35
WIDTH_IN = 5.4
"""Of every picture: text of 10 points then stays legible when a phone shows it 340 pixels wide."""
HALO = (patheffects.withStroke(linewidth=2.5, foreground=PAPER),)
"""Keeps text legible on top of data."""

_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Picture:
    """A figure with the words that go with it.

    Attributes:
        name: Of its file, without the suffix.
        title: What it shows, with the unit.
        reading: One plain sentence on how to read it.
        alt: What somebody who cannot see it should know of it.
        figure: The drawing.
    """

    name: str
    title: str
    reading: str
    alt: str
    figure: Figure


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """Fonts and names as every picture has them, whatever the user's own settings of matplotlib."""
    settings = mpl.rc_context(
        {
            "font.size": 10,
            "svg.fonttype": "path",
            "svg.hashsalt": "simvae",
            "text.parse_math": False,  # class and run names may hold a $; logarithmic axes need words of their own
        }
    )
    with settings, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a class may be named in any script
        yield


def make_axes(height_in: float, *, width_in: float = WIDTH_IN, grid: str = "y") -> tuple[Figure, Axes]:
    """A figure with one plain frame.

    Args:
        height_in: Its height in inches.
        width_in: Its width.
        grid: Lines behind the data: `x`, `y` or `both`.
    """
    with _drawing():
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(which="both", colors=MUTED, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(MUTED)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]  # the stub wants a literal
    axes.set_axisbelow(True)
    return figure, axes


def settle(figure: Figure) -> Figure:
    """Lays a finished drawing out once and for all: doing so anew for every file takes longer than drawing it."""
    with _drawing():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save_png(picture: Picture, folder: Path) -> Path:
    """Writes `<name>.png` on white, with its title.

    Args:
        picture: What to write.
        folder: An existing folder.
    """
    path = folder / f"{picture.name}.png"
    with _drawing():
        width, height = picture.figure.get_size_inches()
        title = picture.figure.text(0.01, 1 + 0.1 / height, picture.title, color=INK, weight="bold", va="bottom")
        whole = Bbox(((0, 0), (width, height + _TITLE_IN)))
        picture.figure.savefig(path, dpi=160, bbox_inches=whole, facecolor="white", pil_kwargs={"compress_level": 4})
        title.remove()
    return path


def as_svg(picture: Picture) -> str:
    """The drawing as SVG on no background, whose ink is that of the reader's theme."""
    text = io.StringIO()
    with _drawing():
        picture.figure.savefig(text, format="svg", transparent=True, metadata=_NO_METADATA)
    light = ";".join(f"{name}:{colour}" for colour, (name, _) in _THEMED.items())
    dark = ";".join(f"{name}:{other}" for name, other in _THEMED.values())
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for colour, (name, _) in _THEMED.items():
        drawing = drawing.replace(colour, f"var({name})")
    rules = (
        f":root{{color-scheme:light dark;{light}}} @media (prefers-color-scheme:dark){{:root{{{dark}}}}} "
        "image{image-rendering:pixelated}"
    )
    return drawing.replace('<style type="text/css">', f'<style type="text/css">{rules} ', 1)


def count_axis(axes: Axes) -> None:
    """Writes the horizontal axis's numbers as 20k and 1.5M."""

    def words(value: float, _position: int) -> str:
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:g}{unit}"
        return f"{value:g}"

    axes.xaxis.set_major_formatter(FuncFormatter(words))
    axes.locator_params(axis="x", nbins=5)


def shorten(text: str, most: int = 24) -> str:
    """Cuts a name that would not fit, in its middle, where names of runs differ least."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def spread(places: list[float], gap: float) -> NDArray[np.float64]:
    """Moves places on a line apart until neighbours have a distance, so that labels beside them do not overlap.

    Args:
        places: Where the labels belong, in any order.
        gap: The least distance.

    Returns:
        Where they may stand, in the order given; each run of crowded labels is centred on where it belongs.
    """
    order = np.argsort(places, kind="stable")
    clusters: list[list[float]] = []
    for place in np.asarray(places, float)[order]:
        clusters.append([place])
        while len(clusters) > 1 and _top(clusters[-2], gap) + gap > _bottom(clusters[-1], gap):
            last = clusters.pop()
            clusters[-1] += last
    moved = [_bottom(cluster, gap) + gap * index for cluster in clusters for index in range(len(cluster))]
    result = np.empty(len(places))
    result[order] = moved
    return result


def _bottom(cluster: list[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _top(cluster: list[float], gap: float) -> float:
    return sum(cluster) / len(cluster) + gap * (len(cluster) - 1) / 2
