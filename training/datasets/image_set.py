"""What a source of images gives to training and evaluation. Knows no file formats and no paths.

Images are uint8 arrays, possibly memory-mapped: slice them, never copy them whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.images import InputSpec, Pixels

__all__ = ["DataError", "ImageSet", "Skipped", "Source"]


class DataError(Exception):
    """Images that cannot be had; the message is one sentence that says what was expected, found, and what to do."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape, with labels if there are any.

    Attributes:
        images: uint8, 0 to 255, shape [N, height, width, channels].
        labels: Class indices, shape [N]; for evaluation only, training never sees them.
    """

    images: Pixels
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"expected uint8 images of shape [N, H, W, C], found {self.images.dtype} {self.images.shape}"
            )
        if self.labels is not None and self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"expected one label for each of {len(self.images)} images, found {self.labels.shape}")

    def __len__(self) -> int:
        """N."""
        return len(self.images)


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
