"""The SimVAE objective: evidence lower bound of J views of one image, in nats.

    y ~ p(y)      z_j | y ~ N(y, σ² I)      x_j | z_j ~ p(x | z_j)      q(z_j | x_j) = N(μ_j, diag s_j²)

    ELBO = Σ_j E_q[log p(x_j | z_j)] + H[q] + E_q[log p(z_1..z_J)]

The content y is integrated out in closed form, so are the last two terms, whose sum is −KL(q ‖ p) when p(y) is
proper. Every normalising constant is kept. Shapes: B groups (images), J views, D latent dimensions. This module
knows tensors only: no networks, no images.

Source: Bizeul, Schölkopf, Allen, "A Probabilistic Model behind Self-Supervised Learning", arXiv 2402.01399.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from training.objectives.precision import at_least_float32
from training.objectives.prior import Prior, energy, log_density, log_prior, rho_from_views

__all__ = [
    "Elbo",
    "Prior",
    "elbo",
    "entropy",
    "expected_log_prior",
    "kl_divergence",
    "log_prior",
    "rho_from_views",
    "virial_ratio",
]

_LOG_2PI = math.log(2 * math.pi)


@dataclass  # not frozen: Fabric rebuilds what a module's forward returns
class Elbo:
    """The bound and its parts, per group, each of shape [B], in nats per view (that is, divided by J).

    Attributes:
        log_likelihood: (1/J) Σ_j log p(x_j | z_j), one sample of z_j each.
        kl: (1/J) KL(q(z_1..z_J) ‖ p(z_1..z_J)); may be negative under a flat p(y), which is no density.
        beta: Weight on the KL in `objective`.
    """

    log_likelihood: Tensor
    kl: Tensor
    beta: float

    @property
    def value(self) -> Tensor:
        """The lower bound on (1/J) log p(x_1..x_J), whatever β is; shape [B]."""
        return self.log_likelihood - self.kl

    @property
    def objective(self) -> Tensor:
        """What training maximises: the bound with its KL weighted by β; shape [B]."""
        return self.log_likelihood - self.beta * self.kl


def elbo(log_likelihood: Tensor, mu: Tensor, log_var: Tensor, prior: Prior, beta: float = 1.0) -> Elbo:
    """Combines the reconstruction of J views with the closed-form KL of their latents.

    Args:
        log_likelihood: log p(x_j | z_j) in nats, summed over pixels; shape [B, J].
        mu: Posterior means, shape [B, J, D].
        log_var: Logarithms of the posterior variances s², shape [B, J, D].
        prior: The prior of the group.
        beta: Weight of the KL during training; 1 is the bound itself.
    """
    views = mu.shape[1]
    return Elbo(log_likelihood.mean(1), kl_divergence(mu, log_var, prior) / views, beta)


def kl_divergence(mu: Tensor, log_var: Tensor, prior: Prior) -> Tensor:
    """KL(Π_j q(z_j | x_j) ‖ p(z_1..z_J)) = −H[q] − E_q[log p(z_1..z_J)].

    Computed in float32 at least, whatever the autocast dtype: S is a difference of nearly equal numbers.

    Args:
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        Nats per group, shape [B].
    """
    return -entropy(log_var) - expected_log_prior(mu, log_var, prior)


def entropy(log_var: Tensor) -> Tensor:
    """H[q] = ½ Σ_jk (1 + log 2π + log s²_jk), in nats per group.

    Args:
        log_var: Log posterior variances, shape [B, J, D].

    Returns:
        Shape [B].
    """
    return 0.5 * (1 + _LOG_2PI + at_least_float32(log_var)).sum((1, 2))


def expected_log_prior(mu: Tensor, log_var: Tensor, prior: Prior) -> Tensor:
    """E_q[log p(z_1..z_J)] with y integrated out: the closed form of `log_prior` with S and ‖z̄‖² in expectation.

        E[S] = Σ_j ‖μ_j − μ̄‖² + (1 − 1/J) Σ_jk s²_jk        E‖z̄‖² = ‖μ̄‖² + (1/J²) Σ_jk s²_jk

    Args:
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        Nats per group, shape [B].
    """
    return log_density(*_expected_scatter(mu, log_var), mu.shape[-2], prior)


def virial_ratio(mu: Tensor, log_var: Tensor, prior: Prior) -> Tensor:
    """E[S/σ² + J‖z̄‖²/λ] / JD over the batch: 1 when the scale of the latents has converged.

    Follows from stationarity of the bound under z → cz with a decoder free to follow: H[q] gains JD log c, and the
    expectation above gains a factor c². Under a flat p(y) the second term is absent.

    Args:
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        A scalar.

    Raises:
        ValueError: One view under a flat p(y), which says nothing about the scale.
    """
    views = mu.shape[1]
    if prior.flat and views == 1:
        raise ValueError("a flat p(y) needs at least two views, found one; use more views or the Gaussian prior")
    within, centre = _expected_scatter(mu, log_var)
    return energy(within, centre, views, prior).mean() / views


def _expected_scatter(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """E_q[S] and E_q‖z̄‖² of each dimension, each of shape [B, D]."""
    mu, variance = at_least_float32(mu), at_least_float32(log_var).exp()
    views = mu.shape[1]
    centre = mu.mean(1, keepdim=True)
    spread = variance.sum(1)
    within = (mu - centre).square().sum(1) + (1 - 1 / views) * spread
    return within, centre.squeeze(1).square() + spread / views**2
