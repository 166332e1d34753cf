"""How much of style an embedding keeps: what was done to a view, and factors that are known of images.

A view's parameters are the style that training itself varies: one view is made of each image, and probes read from its
embedding where it was cropped, how large, and so on ("augmentation-aware" evaluation, arXiv 2111.09613). Factors come
with a source: the font of a glyph, the attributes of a face.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.engine.images import Pixels
from training.config import ViewsConfig
from training.evaluation.mlp import mlp_probe
from training.evaluation.probes import linear_probe
from training.evaluation.split import split_training
from training.evaluation.targets import Target
from training.evaluation.threads import one_thread
from training.views import ViewParameters, apply_views, draw_views

__all__ = [
    "TEST_IMAGES",
    "TRAIN_IMAGES",
    "StyleScore",
    "StyledViews",
    "factor_targets",
    "style_scores",
    "styled_views",
    "view_factors",
]

TRAIN_IMAGES = 8_000
TEST_IMAGES = 5_000
"""At most so many images are styled for fitting and for scoring."""
_CHUNK = 256


@dataclass(frozen=True)
class StyleScore:
    """How well one style factor can be read from an embedding.

    Attributes:
        measure: `r2` or `accuracy`.
        linear: Of the linear probe.
        mlp: Of the probe with a hidden layer.
        chance: The accuracy of naming the most common category; None for R², whose chance is 0.
    """

    measure: str
    linear: float
    mlp: float
    chance: float | None = None


@dataclass(frozen=True)
class StyledViews:
    """One view of each of N images, and how it was made."""

    images: Pixels
    parameters: ViewParameters

    @torch.no_grad()
    def embed(self, embed: Callable[[Tensor], Tensor], device: torch.device) -> NDArray[np.float32]:
        """Embeddings of the views, shape [N, F].

        Args:
            embed: Pixels in [0, 1] of shape [n, C, H, W] to embeddings [n, F].
            device: Where to compute.
        """
        parts = []
        for start in range(0, len(self.images), _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = torch.from_numpy(self.images[part].copy())
            parts.append(embed(apply_views(chunk, self.parameters[part]).to(device)).cpu().numpy())
        return np.concatenate(parts)


def styled_views(images: Pixels, config: ViewsConfig, seed: int) -> StyledViews:
    """Draws one view of each image; the same for the same seed, whatever model looks at it.

    Args:
        images: uint8 of shape [N, H, W, C].
        config: Which changes, and how large.
        seed: Decides the draw.
    """
    height, width = images.shape[1:3]
    generator = torch.Generator().manual_seed(seed)
    return StyledViews(images, draw_views(len(images), width / height, config, generator))


def view_factors(parameters: ViewParameters) -> dict[str, NDArray[Any]]:
    """What can be asked about views: the crop as it lies in the view, its size and shape, and the changes of colour.

    The horizontal place is that of the crop after the mirror, for in a mirrored view the left of the image is right.

    Args:
        parameters: Of N views.

    Returns:
        Arrays of shape [N] by name; integers are categories.
    """
    centre = parameters.left + parameters.width / 2
    factors = {
        "crop_x": torch.where(parameters.flipped, 1 - centre, centre),
        "crop_y": parameters.top + parameters.height / 2,
        "log_area": (parameters.height * parameters.width).log(),
        "log_aspect": (parameters.width / parameters.height).log(),
        "flip": parameters.flipped.long(),
        "brightness": parameters.brightness,
        "contrast": parameters.contrast,
        "saturation": parameters.saturation,
    }
    return {name: values.cpu().numpy() for name, values in factors.items()}


def factor_targets(
    train: Mapping[str, NDArray[Any]], test: Mapping[str, NDArray[Any]], prefix: str = ""
) -> list[Target]:
    """Targets for probes, without those that do not vary.

    Args:
        train: Values by factor, of training items.
        test: Of test items.
        prefix: Of every name.
    """
    targets = [Target(f"{prefix}{name}", values, test[name]) for name, values in train.items() if name in test]
    return [target for target in targets if not target.constant]


@one_thread()
def style_scores(
    train: NDArray[np.float32], test: NDArray[np.float32], targets: Sequence[Target], device: torch.device, seed: int
) -> dict[str, StyleScore]:
    """Reads every target from embeddings, by a linear probe each and by one small network for all.

    Args:
        train: Embeddings that the targets' training values belong to, shape [N, F].
        test: Shape [M, F].
        targets: What to read.
        device: Where to compute.
        seed: Of the validation split and of the network.
    """
    if not targets:
        return {}
    codes, asked = torch.from_numpy(train).to(device), torch.from_numpy(test).to(device)
    split = split_training(np.zeros(len(train), np.int64), seed)
    curved = mlp_probe(codes, asked, targets, split, seed).scores
    return {
        target.name: StyleScore(
            "accuracy" if target.categorical else "r2",
            linear_probe(codes, asked, target, split).score,
            curved[target.name],
            target.chance if target.categorical else None,
        )
        for target in targets
    }
