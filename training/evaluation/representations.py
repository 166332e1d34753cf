"""The features that are compared: the model's latents and last hidden layer, PCA of the pixels, and the pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from service.engine.images import Pixels
from training.generative import GenerativeModel
from training.health import to_pixels
from training.model import EmbeddingModel

__all__ = ["Features", "model_features", "pca_features", "raw_features"]

_CHUNK = 256
"""Images at once, as in `training.restore`."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """A map from images to vectors.

    Attributes:
        name: As in `evaluation.json`.
        embed: Pixels in [0, 1] of shape [n, C, H, W] to features of shape [n, F].
        device: Where `embed` computes.
        decode: Features to pixels of shape [n, C, H, W], where there is a way back.
        wide: Whether there are too many dimensions for all but the quickest probes.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    device: torch.device
    decode: Callable[[Tensor], Tensor] | None = None
    wide: bool = False

    @torch.no_grad()
    def of(self, images: Pixels) -> Array:
        """Features of uint8 images of shape [N, H, W, C], float32 of shape [N, F]."""
        return np.concatenate([self.embed(pixels).cpu().numpy() for pixels in _chunks(images, self.device)])

    @torch.no_grad()
    def squared_error(self, images: Pixels) -> float | None:
        """Of what `decode` makes of the features, per pixel in [0, 1] units; None without a way back."""
        if self.decode is None:
            return None
        errors = [
            (self.decode(self.embed(pixels)) - pixels).square().mean((1, 2, 3)).cpu()
            for pixels in _chunks(images, self.device)
        ]
        return float(torch.cat(errors).double().mean())


def model_features(model: EmbeddingModel, device: torch.device) -> tuple[Features, Features]:
    """The latents (posterior means) of a model, and its last hidden layer.

    Args:
        model: On `device`, in evaluation mode.
        device: Where to compute.
    """
    decode = model.decode if isinstance(model, GenerativeModel) else None
    latents = Features("latents", lambda pixels: model.encode(pixels).mean, device, decode)
    return latents, Features("features", model.features, device)


def pca_features(images: Pixels, dimensions: int) -> Features:
    """The principal components of pixels.

    Args:
        images: What they are fitted on, uint8 of shape [N, H, W, C].
        dimensions: How many; fewer when there are not as many images or pixels.
    """
    flat = np.divide(images.transpose(0, 3, 1, 2).reshape(len(images), -1), 255, dtype=np.float32)
    with np.errstate(invalid="ignore"):  # images that do not vary: their shares of the variance, unused here, are 0 / 0
        fitted = PCA(min(dimensions, *flat.shape), random_state=0).fit(flat)
    mean, axes = (torch.from_numpy(values.astype(np.float32)) for values in (fitted.mean_, fitted.components_))
    shape = to_pixels(torch.from_numpy(images[:1].copy())).shape[1:]
    return Features(
        "PCA",
        lambda pixels: (pixels.flatten(1) - mean) @ axes.T,
        torch.device("cpu"),
        lambda codes: (codes @ axes + mean).reshape(-1, *shape),
    )


def raw_features() -> Features:
    """The pixels themselves."""
    return Features("raw pixels", lambda pixels: pixels.flatten(1), torch.device("cpu"), wide=True)


def _chunks(images: Pixels, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), _CHUNK):
        yield to_pixels(torch.from_numpy(images[start : start + _CHUNK].copy()).to(device))
