"""Rows of small images as one figure: every pixel of an image is a pixel of the picture, whatever the zoom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from training.report.style import INK, MUTED, ORANGE, WIDTH_IN

__all__ = ["Mark", "compose", "draw_grid", "to_uint8"]

Tile = NDArray[np.uint8] | NDArray[np.float32]

_LARGEST_PX = 64


@dataclass(frozen=True)
class Mark:
    """A frame around one tile, with a word beneath."""

    row: int
    column: int
    text: str


def to_uint8(image: Tile) -> NDArray[np.uint8]:
    """Pixels of [0, 1] as floats, or bytes, to bytes; shape [H, W, C]."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def compose(
    rows: Sequence[Sequence[Tile | None]], gap_px: int, row_gap_px: int, largest_px: int = _LARGEST_PX
) -> NDArray[np.uint8]:
    """One transparent sheet with all tiles on it.

    Args:
        rows: Images of one shape, [H, W, C] with C of 1 or 3; None leaves a place empty.
        gap_px: Between columns.
        row_gap_px: Between rows.
        largest_px: Larger images are shrunk to this, so that a report stays a file to send.

    Returns:
        RGBA of shape [height, width, 4].
    """
    tiles = [[None if tile is None else _shrunk(to_uint8(tile), largest_px) for tile in row] for row in rows]
    height, width = next(tile.shape[:2] for row in tiles for tile in row if tile is not None)
    columns = max(len(row) for row in rows)
    sheet = np.zeros((len(rows) * (height + row_gap_px) - row_gap_px, columns * (width + gap_px) - gap_px, 4), np.uint8)
    for row, line in enumerate(tiles):
        for column, tile in enumerate(line):
            if tile is not None:
                place = sheet[row * (height + row_gap_px) :, column * (width + gap_px) :][:height, :width]
                place[..., :3], place[..., 3] = tile, 255
    return sheet


def draw_grid(
    rows: Sequence[Sequence[Tile | None]],
    names: Sequence[str] = (),
    heads: Sequence[str] = (),
    marks: Sequence[Mark] = (),
) -> Figure:
    """Draws tiles with names beside the rows and above the columns.

    Args:
        rows: See `compose`.
        names: One per row, or none.
        heads: One per column, or none.
        marks: Frames around tiles; rows are then set apart to make room for their words.
    """
    first = _shrunk(to_uint8(next(tile for row in rows for tile in row if tile is not None)), _LARGEST_PX)
    height, width = first.shape[:2]
    gap, row_gap = max(1, width // 14), max(1, height // 14)
    if marks:
        row_gap = max(row_gap, height * 5 // 14)
    sheet = compose(rows, gap, row_gap)
    left, top = max([0.05, *(0.16 + 0.077 * len(name) for name in names)]), (0.3 if heads else 0.05)
    bottom = 0.25 if marks else 0.05
    across = WIDTH_IN - left - 0.05
    tall = across * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(WIDTH_IN, tall + top + bottom))
    full = figure.get_size_inches()[1]
    axes = figure.add_axes((left / WIDTH_IN, bottom / full, across / WIDTH_IN, tall / full))
    axes.axis("off")
    axes.imshow(sheet, interpolation="none", aspect="auto")
    centre_x = [column * (width + gap) + width / 2 - 0.5 for column in range(max(map(len, rows)))]
    centre_y = [row * (height + row_gap) + height / 2 - 0.5 for row in range(len(rows))]
    unit = sheet.shape[1] / across / 72  # pixels of the sheet per point
    for y, name in zip(centre_y, names, strict=False):
        axes.text(-5 * unit, y, name, ha="right", va="center", color=INK, fontsize=10, parse_math=False)
    for x, head in zip(centre_x, heads, strict=False):
        axes.text(x, -5 * unit, head, ha="center", va="bottom", color=MUTED, fontsize=9.5, parse_math=False)
    for mark in marks:
        x, y = centre_x[mark.column], centre_y[mark.row]
        box = (x - width / 2 - gap / 4, y - height / 2 - gap / 4, width + gap / 2, height + gap / 2)
        axes.add_patch(_frame(*box))
        under = y + height / 2 + 2 * unit
        axes.text(x, under, mark.text, ha="center", va="top", color=ORANGE, fontsize=6.5, parse_math=False)
    return figure


def _frame(x: float, y: float, width: float, height: float) -> Rectangle:
    return Rectangle((x, y), width, height, fill=False, edgecolor=ORANGE, linewidth=1.8, clip_on=False)


def _shrunk(image: NDArray[np.uint8], largest_px: int) -> NDArray[np.uint8]:
    """At most so high and wide, with three channels or one that stands for three."""
    height, width = image.shape[:2]
    if max(height, width) <= largest_px:
        return image
    scale = largest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(image.squeeze()).resize(size, Image.Resampling.BOX))
    return small[..., None] if small.ndim == 2 else small
