"""What a source of images gives to training and evaluation. Knows no file formats and no paths.

Images are uint8 arrays, possibly memory-mapped: slice them, never copy them whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.images import InputSpec, Pixels

__all__ = ["DataError", "Factor", "ImageSet", "Skipped", "Source"]

Factor = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
"""One value per image, shape [N]: floating-point if continuous, integer if a category counted from 0."""


class DataError(Exception):
    """Images that cannot be had; the message is one sentence that says what was expected, found, and what to do."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape, with labels and factors of style if they are known.

    Attributes:
        images: uint8, 0 to 255, shape [N, height, width, channels].
        labels: Class indices, shape [N]; for evaluation only, training never sees them.
        factors: What else is known of each image, by name; for evaluation only, like the labels.
    """

    images: Pixels
    labels: NDArray[np.int64] | None = None
    factors: Mapping[str, Factor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"expected uint8 images of shape [N, H, W, C], found {self.images.dtype} {self.images.shape}"
            )
        if self.labels is not None and self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"expected one label for each of {len(self.images)} images, found {self.labels.shape}")
        for name, values in self.factors.items():
            _check_factor(name, values, len(self.images))

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def part(self, rows: slice) -> "ImageSet":
        """The images of a slice with their labels and factors; nothing is copied."""
        labels = None if self.labels is None else self.labels[rows]
        return ImageSet(self.images[rows], labels, {name: values[rows] for name, values in self.factors.items()})


def _check_factor(name: str, values: Factor, count: int) -> None:
    if values.shape != (count,):
        raise ValueError(f"expected one value of factor {name} for each of {count} images, found {values.shape}")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"expected factor {name} as floating-point values or integers, found {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"expected finite values of factor {name}, found nan or infinity")
    if values.dtype.kind == "i" and (values < 0).any():
        raise ValueError(f"expected categories of factor {name} counted from 0, found {values.min()}")


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and the reason in one sentence."""

    path: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Everything that is known about the images of a run.

    Attributes:
        name: As given to `open_source`.
        input: Size, colour mode and resize rule the images were brought to; serving repeats it.
        train: Images to learn from.
        test: Images held out.
        class_names: Names by class index, or None when the source is unlabelled.
        skipped: Files that could not be read.
    """

    name: str
    input: InputSpec
    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
