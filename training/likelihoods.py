"""log p(x | z): how probable an image is under what the decoder drew, in nats.

All constants are kept, so bounds can be compared across models. Pixels are in [0, 1]; this module knows neither
networks nor views.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.distributed import all_mean

__all__ = ["bernoulli_log_prob", "gaussian_log_prob", "optimal_variance"]

_ROUNDING_VARIANCE = 1 / (12 * 255**2)


def gaussian_log_prob(x: Tensor, mean: Tensor, variance: float | Tensor) -> Tensor:
    """The Gaussian log-density log N(x; mean, variance · I), summed over pixels, in float32 at least.

    Args:
        x: Pixels in [0, 1], shape [..., C, H, W].
        mean: The decoder's image, same shape.
        variance: σ_x² > 0, in squared pixel units; a tensor of shape [] may be learned, and is not checked.

    Returns:
        Nats, shape [...].

    Raises:
        ValueError: A number that is not positive.
    """
    if not isinstance(variance, Tensor):
        if not variance > 0:
            raise ValueError(f"the pixel variance must be positive, found {variance}")
        variance = x.new_tensor(variance, dtype=torch.promote_types(x.dtype, torch.float32))
    pixels = math.prod(x.shape[-3:])
    squared_error = _squared_error(x, mean).sum((-3, -2, -1))
    return -0.5 * (squared_error / variance + pixels * (2 * math.pi * variance).log())


def optimal_variance(x: Tensor, mean: Tensor) -> Tensor:
    """The σ_x² under which the batch is most probable: its mean squared error, over all processes.

    A constant to autograd, and rightly so. Given the decoder's images, the negative log-likelihood per image of D
    pixels, D/2 log σ_x² + D·MSE / 2σ_x², is stationary in σ_x² at MSE; there its total gradient equals the partial
    one with σ_x² held, D/2 · ∇MSE / MSE, which is the gradient of D/2 log MSE. So a Gaussian likelihood with this
    detached value trains on D/2 log MSE, and leaves no weight between reconstruction and KL to be tuned.

    Args:
        x: Pixels in [0, 1], any shape.
        mean: The decoder's images, same shape.

    Returns:
        Shape [], detached, and at least the variance of rounding to 8 bits, 1/(12 · 255²): nothing below it is seen.

    Source: Rybkin, Daniilidis & Levine, "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021,
    arXiv 2006.13202, eq. 6.
    """
    return all_mean(_squared_error(x.detach(), mean.detach()).mean()).clamp(min=_ROUNDING_VARIANCE)


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


def _squared_error(x: Tensor, mean: Tensor) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (x.to(dtype) - mean.to(dtype)).square()
