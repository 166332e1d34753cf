"""log p(x | z): how probable an image is under what the decoder drew, in nats.

All constants are kept, so bounds can be compared across models. Pixels are in [0, 1]; this module knows neither
networks nor views.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["bernoulli_log_prob", "gaussian_log_prob"]


def gaussian_log_prob(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """The Gaussian log-density log N(x; mean, variance · I), summed over pixels.

    Args:
        x: Pixels in [0, 1], shape [..., C, H, W].
        mean: The decoder's image, same shape.
        variance: σ_x² > 0, in squared pixel units.

    Returns:
        Nats, shape [...].

    Raises:
        ValueError: A variance that is not positive.
    """
    if variance <= 0:
        raise ValueError(f"the pixel variance must be positive, found {variance}")
    squared_error = (x.float() - mean.float() if x.dtype != torch.float64 else x - mean).square()
    return -0.5 * (squared_error / variance + math.log(2 * math.pi * variance)).sum((-3, -2, -1))


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """The Bernoulli log-probability Σ x log p + (1 − x) log(1 − p), p = sigmoid(logits), summed over pixels.

    A density only for binary images; on grey values it is the cross-entropy that much VAE code uses in its place.

    Args:
        x: Pixels in [0, 1], shape [..., C, H, W].
        logits: The decoder's output before the sigmoid, same shape.

    Returns:
        Nats, shape [...].
    """
    x = x if x.dtype == torch.float64 else x.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits.to(x.dtype), x, reduction="none")
    return -cross_entropy.sum((-3, -2, -1))
