"""The prior of the latents of a group: views of one image are normal around a shared content y.

    y ~ N(0, τ² I), or p(y) ∝ 1      z_j | y ~ N(y, σ² I)      σ² + τ² = 1

The content is integrated out in closed form, constants kept. Shapes: J views, D latent dimensions. Tensors only.

Source: Bizeul, Schölkopf, Allen, "A Probabilistic Model behind Self-Supervised Learning", arXiv 2402.01399.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.objectives.precision import at_least_float32

__all__ = ["Prior", "energy", "log_density", "log_prior", "rho_from_views"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Prior:
    """The prior of a group of latents, in the gauge σ² + τ² = 1.

    With a Gaussian p(y) = N(0, τ² I) only the ratio ρ = τ² / (σ² + τ²), the prior correlation of two views of one
    image, can be told from data; in this gauge every single view has the prior N(0, I) of an ordinary VAE.

    Attributes:
        rho: ρ = τ², strictly between 0 and 1; σ² = 1 − ρ. The paper's σ² = 0.15 at τ² = 1 is ρ = 0.87. A tensor of
            shape [] or [D] (one ρ per latent dimension) may be learned: gradients reach it. Only a float is checked
            here; whoever makes the tensor keeps it in range (a sigmoid does).
        flat: Take p(y) ∝ 1 instead (the paper's uniform case); then σ² is a mere unit of length, and learning it is
            degenerate: the bound grows without end as the latents are blown up with σ.
    """

    rho: float | Tensor = 0.87
    flat: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rho, Tensor) and not 0 < self.rho < 1:
            raise ValueError(f"rho is a correlation strictly between 0 and 1, found {self.rho}")

    @property
    def sigma2(self) -> float | Tensor:
        """Variance of a view's latent around its content, σ²."""
        return 1 - self.rho

    @property
    def tau2(self) -> float | Tensor | None:
        """Variance of the contents, τ², or None when p(y) is flat."""
        return None if self.flat else self.rho

    def correlations(self, like: Tensor) -> Tensor:
        """ρ of every dimension, shape [D], with the dtype and on the device of latents of shape [..., D]."""
        if isinstance(self.rho, Tensor):
            return self.rho.to(like).expand(like.shape[-1])
        return like.new_full((like.shape[-1],), self.rho)


def log_prior(z: Tensor, prior: Prior) -> Tensor:
    """log p(z_1..z_J) with y integrated out, at points.

    With z̄ the mean over views and S = Σ_j ‖z_j − z̄‖², summed over dimensions where ρ differs between them,

        Gaussian p(y):  −JD/2 log 2π − (J−1)D/2 log σ² − D/2 log λ − S/2σ² − J ‖z̄‖²/2λ,   λ = σ² + Jτ²
        flat p(y):      −(J−1)D/2 log 2πσ² − D/2 log J − S/2σ²

    Args:
        z: Latents, shape [..., J, D].
        prior: The prior of the group.

    Returns:
        Nats per group, shape [...].
    """  # noqa: D403 (log is the function)
    z = at_least_float32(z)
    centre = z.mean(-2, keepdim=True)
    return log_density((z - centre).square().sum(-2), centre.squeeze(-2).square(), z.shape[-2], prior)


def log_density(within: Tensor, centre: Tensor, views: int, prior: Prior) -> Tensor:
    """log p(z_1..z_J) from its sufficient statistics, or its expectation from theirs.

    Args:
        within: S of each dimension, shape [..., D].
        centre: ‖z̄‖² of each dimension, shape [..., D].
        views: J.
        prior: The prior of the group.

    Returns:
        Nats, shape [...].
    """  # noqa: D403
    rho = prior.correlations(within)
    log_sigma2 = torch.log1p(-rho)
    if prior.flat:
        constant = (views - 1) * (_LOG_2PI + log_sigma2) + math.log(views)
    else:
        constant = views * _LOG_2PI + (views - 1) * log_sigma2 + _lambda(rho, views).log()
    return -0.5 * (constant + energy(within, centre, views, prior)).sum(-1)


def energy(within: Tensor, centre: Tensor, views: int, prior: Prior) -> Tensor:
    """S/σ² + J ‖z̄‖²/λ of each dimension, of mean J under a proper prior; arguments as for `log_density`.

    Returns:
        Shape [..., D].
    """
    rho = prior.correlations(within)
    scatter = within / (1 - rho)
    return scatter if prior.flat else scatter + views * centre / _lambda(rho, views)


def rho_from_views(means: Tensor) -> Tensor:
    """The intra-class correlation of each dimension, estimated from the means of B groups of J views.

        ρ = B / (B + W)      W = Σ_ij (z_ij − z̄_i)² / N(J−1)      B = Σ_i (z̄_i − z̄)² / (N−1) − W/J

    W and B are unbiased for the variance within and between groups, so that ρ needs no correction for J; noise can
    make it negative, which reads as "the views share nothing".

    Args:
        means: One latent per view, shape [N, J, D], N and J at least 2.

    Returns:
        Shape [D], each at most 1; 0 for a dimension that never varies.

    Raises:
        ValueError: Fewer than two groups or two views.

    Source: Fisher's intra-class correlation by analysis of variance; Ioffe, "Probabilistic Linear Discriminant
    Analysis", ECCV 2006, for its use on embeddings.
    """
    groups, views, _ = means.shape
    if groups < 2 or views < 2:
        raise ValueError(f"expected at least 2 groups of 2 views, found {groups} of {views}; draw more views")
    means = at_least_float32(means)
    within = means.var(1).mean(0)
    between = means.mean(1).var(0) - within / views
    total = within + between
    return torch.where(total > 0, between / total, 0)


def _lambda(rho: Tensor, views: int) -> Tensor:
    """λ = σ² + Jτ², written so that one view gives exactly 1."""
    return 1 + (views - 1) * rho
