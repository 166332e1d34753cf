"""What the engine gives back: plain arrays with names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.images import Pixels

__all__ = ["Embedding", "Embeddings", "Floats", "Reconstruction", "Reconstructions"]

Floats = NDArray[np.float32]


class Embedding(NamedTuple):  # which is made several times faster than a frozen dataclass
    """One image in latent space.

    Attributes:
        mean: The posterior mean μ(x), which is the embedding; shape [D].
        variance: The posterior variance s²(x), how unsure the mean is in each dimension; shape [D].
    """

    mean: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Many images in latent space, in the order they were given.

    Attributes:
        mean: Shape [N, D].
        variance: Shape [N, D].
    """

    mean: Floats
    variance: Floats

    @classmethod
    def stack(cls, items: Sequence[Embedding], dim: int) -> "Embeddings":
        """Stacks single embeddings of `dim` dimensions; none of them give shape [0, dim]."""
        mean, variance = np.empty((2, len(items), dim), np.float32)
        for row, item in enumerate(items):
            mean[row], variance[row] = item.mean, item.variance
        return cls(mean, variance)

    def __len__(self) -> int:
        return len(self.mean)

    def __iter__(self) -> Iterator[Embedding]:
        return map(Embedding, self.mean, self.variance)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What the model thinks it saw.

    Attributes:
        pixels: The decoded posterior mean; uint8 of shape [H, W, C].
        squared_error: Mean over pixels of the squared difference from the input as the model saw it, in [0, 1] units.
        typicality: The share of held-out images that reconstruct worse, 0 to 1.
        embedding: The latent it was decoded from.
    """

    pixels: Pixels
    squared_error: float
    typicality: float
    embedding: Embedding


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """A batch of what the model thinks it saw.

    Attributes:
        embeddings: Of the inputs; N of them.
        pixels: The decoded posterior means; uint8 of shape [N, H, W, C].
        squared_error: Mean over pixels, in [0, 1] units; shape [N].
    """

    embeddings: Embeddings
    pixels: Pixels
    squared_error: Floats
