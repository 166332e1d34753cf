"""Characters drawn from fonts: content is the character, style is font, size, position and rotation, all known.

Every factor is drawn independently of the character and of every other factor, so what a representation tells about
one it tells about no other. The images need no files but fonts, which matplotlib brings along.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from service.engine.images import InputSpec, Pixels
from training.datasets.fonts import Font, bundled_fonts, select_fonts, system_fonts
from training.datasets.image_set import DataError, ImageSet, Source
from training.datasets.places import written_to_cache

__all__ = ["CHARACTERS", "INPUT", "GlyphSpec", "draw_glyph", "open_glyphs"]

CHARACTERS = "0123456789ABCDEFGHJKLMNPQRSTUVXYZabdefghimnqrt"
"""Digits and letters that can still be told apart when size, position and font vary: of letters whose small form is
their large one (c, k, o, p, s, u, v, w, x, y, z) only the large one, no j beside J, no O beside 0, no I or l beside 1,
and no W beside V and M."""

INPUT = InputSpec(height=28, width=28, colour_mode="L")

_VERSION = 1
_SIDE = 28
_SUPERSAMPLING = 4
_LEAST_FONTS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GlyphSpec:
    """How many images, and how much their style varies.

    Attributes:
        train: Number of images to learn from.
        test: Number of images held out.
        seed: Decides every draw.
        size: Least and largest longer side of the box around the ink, as a share of the image's side.
        shift_px: Most pixels between the middle of that box and the middle of the image, to either side.
        rotation_degrees: Largest rotation, to either side.
    """

    train: int = 40_000
    test: int = 8_000
    seed: int = 0
    size: tuple[float, float] = (0.4, 0.7)
    shift_px: float = 4.0
    rotation_degrees: float = 15.0


def draw_glyph(ink: Pixels, size: float, x: float, y: float, rotation: float) -> Pixels:
    """Draws a character white on black, antialiased.

    Args:
        ink: uint8 [height, width], as `Font.characters` has them.
        size: Longer side of the box around the rotated ink, as a share of the image's side.
        x: Pixels from the middle of the image to the middle of that box, positive to the right.
        y: The same downwards.
        rotation: Degrees, positive anticlockwise.

    Returns:
        uint8 [28, 28].
    """
    angle = np.deg2rad(rotation)
    # With y downwards this matrix turns anticlockwise.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = _outline(ink) @ turn.T
    least, most = turned.min(axis=0), turned.max(axis=0)
    scale = size * _SIDE / (most - least).max() * _SUPERSAMPLING
    middle = (np.array([x, y]) + _SIDE / 2) * _SUPERSAMPLING
    # Pillow asks where in the ink a point of the image comes from, so this is the way back.
    back = turn.T / scale
    offset = turn.T @ ((least + most) / 2) - back @ middle + 1
    paper = Image.fromarray(np.pad(ink, 1))  # a rim of paper, for the filter to fade into
    canvas = paper.transform(
        (_SIDE * _SUPERSAMPLING, _SIDE * _SUPERSAMPLING),
        Image.Transform.AFFINE,
        (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1]),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(canvas.reduce(_SUPERSAMPLING))


def _outline(ink: Pixels) -> NDArray[np.float64]:
    """Corners [n, 2] (x, y) of the first and last inked pixel of every row: all that can touch the box around it."""
    inked = ink >= 128
    rows = np.flatnonzero(inked.any(axis=1))
    left = inked[rows].argmax(axis=1)
    right = ink.shape[1] - inked[rows, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([xs, rows + dy], axis=1) for xs in (left, right) for dy in (0, 1)]).astype(float)


def open_glyphs(cache_dir: Path, spec: GlyphSpec | None = None, fonts: Sequence[Font] | None = None) -> Source:
    """Draws the images, or takes them from the cache.

    Args:
        cache_dir: Where the drawn images are kept, in one file per set of fonts and spec.
        spec: Numbers and ranges; the default of every field if None.
        fonts: What to draw with, as `select_fonts` gives it for `CHARACTERS`; if None, the fonts that come with
            matplotlib, so that the images are the same everywhere.

    Returns:
        Images 28 × 28, one class per character, equally large to within one image; factors `font` (category), `size`,
        `x`, `y` and `rotation` (as in `draw_glyph`).

    Raises:
        DataError: Fewer than eight fonts, or the cache cannot be written.
    """
    spec, fonts = spec or GlyphSpec(), _default_fonts() if fonts is None else fonts
    if len(fonts) < _LEAST_FONTS:
        raise DataError(
            f"glyphs: expected at least {_LEAST_FONTS} fonts that draw {CHARACTERS}, found {len(fonts)}; "
            "install matplotlib from its own wheels, which bring theirs along, or more TrueType fonts."
        )
    train, test = (
        _draw(spec.train, [spec.seed, 0], len(fonts), spec),
        _draw(spec.test, [spec.seed, 1], len(fonts), spec),
    )
    file = cache_dir / f"glyphs-{_key(fonts, (train, test))}.npy"
    if not file.is_file():
        _render(file, fonts, (train, test))
    images = np.load(file, mmap_mode="r")
    return Source(
        "glyphs",
        INPUT,
        ImageSet(images[: spec.train], train.labels, train.factors),
        ImageSet(images[spec.train :], test.labels, test.factors),
        tuple(CHARACTERS),
    )


@dataclass(frozen=True)
class _Draws:
    """What N images shall show."""

    labels: NDArray[np.int64]
    factors: dict[str, NDArray[np.int64] | NDArray[np.float32]]


def _default_fonts() -> list[Font]:
    fonts = select_fonts(bundled_fonts(), CHARACTERS)
    if len(fonts) < _LEAST_FONTS:  # some distributions take them out of matplotlib
        fonts = select_fonts([*bundled_fonts(), *system_fonts()], CHARACTERS)
        _log.warning("glyphs: drawn with %d fonts of this machine; elsewhere the images may differ", len(fonts))
    return fonts


def _draw(count: int, seed: Sequence[int], fonts: int, spec: GlyphSpec) -> _Draws:
    rng = np.random.default_rng(seed)

    def uniform(low: float, high: float) -> NDArray[np.float32]:
        return (low + (high - low) * rng.random(count)).astype(np.float32)

    labels = np.argsort(rng.random(count), kind="stable") % len(CHARACTERS)
    factors: dict[str, NDArray[np.int64] | NDArray[np.float32]] = {
        "font": (rng.random(count) * fonts).astype(np.int64),
        "size": uniform(*spec.size),
        "x": uniform(-spec.shift_px, spec.shift_px),
        "y": uniform(-spec.shift_px, spec.shift_px),
        "rotation": uniform(-spec.rotation_degrees, spec.rotation_degrees),
    }
    return _Draws(labels, factors)


def _key(fonts: Sequence[Font], parts: Sequence[_Draws]) -> str:
    """32 hexadecimal digits of everything the pixels depend on."""
    digest = hashlib.sha256(f"{_VERSION}\n".encode())
    for ink in (ink for font in fonts for ink in font.characters):
        digest.update(f"{ink.shape}\n".encode() + ink.tobytes())
    for part in parts:
        digest.update(f"{len(part.labels)}\n".encode())
        for values in (part.labels, *part.factors.values()):
            digest.update(values.tobytes())
    return digest.hexdigest()[:32]


def _render(file: Path, fonts: Sequence[Font], parts: Sequence[_Draws]) -> None:
    """Draws the images of all parts, one part after the other, into an `.npy` file."""
    count = sum(len(part.labels) for part in parts)
    images = np.empty((count, *INPUT.shape), np.uint8)
    rows = (row for part in parts for row in zip(part.labels, *part.factors.values(), strict=True))
    console = Console(stderr=True)
    for image, (label, font, *style) in zip(
        images, track(rows, "Drawing characters", count, console=console), strict=True
    ):
        image[..., 0] = draw_glyph(fonts[font].characters[label], *map(float, style))
    with written_to_cache(file) as target:
        np.save(target, images)
