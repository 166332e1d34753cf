"""What serving must know of images the model never saw: how to read a likelihood ratio, and what is typical."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from service.engine.bundle import Calibration, EmbeddingSpec, TypicalitySpec
from service.engine.images import Pixels
from service.engine.results import Embeddings
from service.engine.similarity import log_likelihood_ratio
from training.batches import generator_for
from training.config import Config
from training.views import make_views

__all__ = ["calibrate", "held_out_views", "typicality"]

_QUANTILES = 101
_BATCH = 256


def held_out_views(images: Pixels, config: Config) -> Iterator[tuple[Pixels, Pixels]]:
    """Two views of each image, as the service would receive them: rounded to uint8.

    Args:
        images: uint8 of shape [N, H, W, C], not trained on.
        config: The run's, for its views.

    Yields:
        First and second views of at most 256 images, each of shape [n, H, W, C].
    """
    generator = generator_for(torch.device("cpu"), config.seed, "held-out")
    pair = config.views.model_copy(update={"count": 2})
    for start in range(0, len(images), _BATCH):
        views = make_views(torch.from_numpy(images[start : start + _BATCH].copy()), pair, generator)
        pixels = (views * 255).round().to(torch.uint8).permute(1, 0, 3, 4, 2).contiguous().numpy()
        yield pixels[0], pixels[1]


def calibrate(left: Embeddings, right: Embeddings, spec: EmbeddingSpec, seed: int) -> Calibration | None:
    """Fits P(same) = sigmoid(slope · LLR + intercept) to as many pairs that match as pairs that do not.

    Args:
        left: Of the first views of N images.
        right: Of the second views, in the same order.
        spec: The prior of the latent space.
        seed: Decides which images are paired wrongly.

    Returns:
        The calibration at equal odds; None under a flat p(y), with fewer than two images, or when the ratio tells
        nothing (a slope not above 0).
    """
    if spec.tau2 is None or len(left) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(left))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)  # one cycle through all images: nobody is paired with itself
    wrong = Embeddings(right.mean[others], right.variance[others])
    ratios = [log_likelihood_ratio(left, other, spec.sigma2, spec.tau2, pairs=True) for other in (right, wrong)]
    same = np.repeat([1, 0], len(left))
    fit = LogisticRegression().fit(np.concatenate(ratios)[:, None], same)
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    return Calibration(slope=slope, intercept=intercept) if slope > 0 else None


def typicality(squared_errors: NDArray[np.floating]) -> TypicalitySpec:
    """Quantiles of the squared reconstruction errors of training images; shape [N]."""
    quantiles = np.quantile(squared_errors.astype(np.float64), np.linspace(0, 1, _QUANTILES))
    return TypicalitySpec(quantiles=tuple(np.maximum.accumulate(quantiles).tolist()))
