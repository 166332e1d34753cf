"""Finds fonts that can draw a set of characters, each legibly and each font in its own way. Knows no data sets.

Fonts are judged by what they draw, not by their names or tables: a box for a missing character, a symbol where a
letter should be, and a face that is another's near copy are all seen in the pixels. Shapes are compared by their
correlation after the ink of each is scaled to fill the same square.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from service.engine.images import Pixels

__all__ = ["Font", "bundled_fonts", "draw_characters", "select_fonts", "system_fonts"]

_EM_PX = 96
_INK = 128
_SHAPE_PX = 32
_LEGIBLE = 0.6
_SAME = 0.8
_MISSING = "\U0010ffff"  # no font has this code point, so it is drawn as a missing character is


@dataclass(frozen=True)
class Font:
    """A font and what it draws.

    Attributes:
        path: The file.
        characters: For each character, in order, its ink: uint8 [height, width], 0 = paper, 255 = ink, cropped to the
            box around the ink.
    """

    path: Path
    characters: tuple[Pixels, ...]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem


def bundled_fonts() -> list[Path]:
    """The fonts that come with matplotlib, which are the same on every machine, by name."""
    import matplotlib as mpl  # noqa: PLC0415 (only this source of images needs it, and it takes long to load)

    return sorted(Path(mpl.get_data_path(), "fonts", "ttf").glob("*.ttf"))


def system_fonts() -> list[Path]:
    """The TrueType and OpenType fonts in the standard folders of Linux, macOS or Windows, by name."""
    from matplotlib import font_manager  # noqa: PLC0415 (it lists every font of the machine when first loaded)

    return sorted(map(Path, font_manager.findSystemFonts()), key=lambda path: (path.name, path))


def select_fonts(paths: Iterable[Path], characters: str) -> list[Font]:
    """Keeps the fonts that draw all characters, legibly, and differ from those kept before them.

    A font is legible if at least 60 % of its characters look most like the same character of the median font, which
    alphabets of symbols do not. It differs if its shapes correlate on average by less than 0.8 with those of each
    font before it.

    Args:
        paths: Font files; what cannot be read is passed over. Of two alike, the first is kept.
        characters: What they must draw.
    """
    fonts = [font for path in paths if (font := draw_characters(path, characters)) is not None]
    if not fonts:
        return []
    shapes = np.stack([np.stack([_shape(ink) for ink in font.characters]) for font in fonts])
    legible = [number for number, share in enumerate(_legibility(shapes)) if share >= _LEGIBLE]
    kept: list[int] = []
    for number in legible:
        if all(_correlation(shapes[number], shapes[other]) < _SAME for other in kept):
            kept.append(number)
    return [fonts[number] for number in kept]


def draw_characters(path: Path, characters: str) -> Font | None:
    """Draws every character 96 pixels to the em; None if the file is no font or one of them is missing or not unique.

    A missing character is drawn as nothing or as the font's box for missing ones.
    """
    try:
        face = ImageFont.truetype(path, _EM_PX)
        missing = _ink(face, _MISSING)
        drawn = [_ink(face, character) for character in characters]
    except OSError:
        return None
    inks = tuple(ink for ink in drawn if ink is not None)
    shapes = {(ink.shape, ink.tobytes()) for ink in inks}
    box = set() if missing is None else {(missing.shape, missing.tobytes())}
    return Font(path, inks) if len(shapes - box) == len(characters) else None


def _ink(face: ImageFont.FreeTypeFont, character: str) -> Pixels | None:
    """What a character leaves on paper, cropped; None if that is nothing."""
    mask = face.getmask(character, mode="L")
    pixels = np.array(mask, np.uint8).reshape(mask.size[1], mask.size[0])
    rows, columns = np.flatnonzero((pixels >= _INK).any(axis=1)), np.flatnonzero((pixels >= _INK).any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else None


def _shape(ink: Pixels) -> NDArray[np.float64]:
    """Ink scaled to fill a square of 32 × 32, as a vector [1024] of mean 0 and length 1."""
    scale = _SHAPE_PX / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    square = Image.new("L", (_SHAPE_PX, _SHAPE_PX))
    square.paste(
        Image.fromarray(ink).resize((width, height), Image.Resampling.BOX),
        ((_SHAPE_PX - width) // 2, (_SHAPE_PX - height) // 2),
    )
    return _standardised(np.asarray(square, np.float64).ravel())


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = values - values.mean(axis=-1, keepdims=True)
    length: NDArray[np.float64] = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.maximum(length, 1e-9)


def _legibility(shapes: NDArray[np.float64]) -> Sequence[float]:
    """For each font of [fonts, characters, pixels], how many characters look most like themselves in the median."""
    median = _standardised(np.median(shapes, axis=0))
    nearest = (shapes @ median.T).argmax(axis=-1)
    return [float(share) for share in (nearest == np.arange(shapes.shape[1])).mean(axis=-1)]


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The mean correlation of the same characters of two fonts, each [characters, pixels]."""
    return float((one * other).sum(axis=-1).mean())
