"""From words, tables and pictures to one HTML file that needs no other: it can be mailed and opened offline."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.files import written_whole
from training.report.style import Picture, as_svg

__all__ = ["Cell", "Gallery", "Table", "embed", "number", "plus_minus", "write_page"]


@dataclass(frozen=True)
class Cell:
    """One figure of a table.

    Attributes:
        value: Exact; None leaves the place empty.
        error: Standard error.
        best: Whether to set it off.
        mark: A sign after it that a note explains.
    """

    value: float | None = None
    error: float | None = None
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a heading per row and column.

    Attributes:
        heads: Of the columns; the first one is that of the row names.
        rows: Name and cells; a name without cells is a heading within the table.
        notes: Sentences beneath.
    """

    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading.

    Attributes:
        title: The heading.
        pictures: In the order shown.
        small: Whether three stand in a row, not two.
    """

    title: str
    pictures: Sequence[Picture]
    small: bool = False


def number(value: float, error: float | None = None) -> str:
    """A figure with as many digits as are worth reading: a tenth of a percent of a share, three digits of small ones.

    Args:
        value: The figure, or its standard error itself.
        error: The standard error of a figure of 10 and more decides how many decimals it has.
    """
    size = abs(value)
    if error is None and float(value).is_integer() and size >= 2:
        return f"{value:,.0f}"
    return f"{value:,.{_decimals(value, error)}f}"


def plus_minus(value: float, error: float) -> str:
    """The standard error of a figure, with as many decimals as the figure has."""
    return f"± {error:,.{_decimals(value, error)}f}"


def _decimals(value: float, error: float | None) -> int:
    size = abs(value)
    if size < 10:
        return 3 if size >= 0.1 or not size else min(2 - math.floor(math.log10(size)), 6)
    if error is None:
        return 1 if size >= 100 else 2
    return 1 if error >= 1 else 2


def embed(picture: Picture) -> str:
    """The picture as the address of an image that lies in the page itself."""
    return "data:image/svg+xml;base64," + base64.b64encode(as_svg(picture).encode()).decode("ascii")


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> None:
    """Fills a template of this package; everything in it is escaped.

    Args:
        path: The HTML file, replaced all at once.
        template: Its name.
        content: What the template names.
    """
    environment = Environment(
        loader=PackageLoader("training.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"embed": embed, "number": number, "plus_minus": plus_minus}
    with written_whole(path) as file:
        file.write(environment.get_template(template).render(content).encode())
