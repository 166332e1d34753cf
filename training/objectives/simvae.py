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

import torch
from torch import Tensor

__all__ = ["Elbo", "Prior", "elbo", "entropy", "expected_log_prior", "kl_divergence", "virial_ratio"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Prior:
    """The prior of a group of latents, in the gauge σ² + τ² = 1.

    With a Gaussian p(y) = N(0, τ² I) only the ratio ρ = τ² / (σ² + τ²), the prior correlation of two views of one
    image, can be told from data; in this gauge every single view has the prior N(0, I) of an ordinary VAE.

    Attributes:
        rho: ρ = τ², strictly between 0 and 1; σ² = 1 − ρ. The paper's σ² = 0.15 at τ² = 1 is ρ = 0.87.
        flat: Take p(y) ∝ 1 instead (the paper's uniform case); then σ² is a mere unit of length.
    """

    rho: float = 0.87
    flat: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.rho < 1:
            raise ValueError(f"rho is a correlation strictly between 0 and 1, found {self.rho}")

    @property
    def sigma2(self) -> float:
        """Variance of a view's latent around its content, σ²."""
        return 1 - self.rho

    @property
    def tau2(self) -> float | None:
        """Variance of the contents, τ², or None when p(y) is flat."""
        return None if self.flat else self.rho


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
    return 0.5 * (1 + _LOG_2PI + _at_least_float32(log_var)).sum((1, 2))


def expected_log_prior(mu: Tensor, log_var: Tensor, prior: Prior) -> Tensor:
    """E_q[log p(z_1..z_J)] with y integrated out, in nats per group.

    With z̄ the mean over views and S = Σ_j ‖z_j − z̄‖²,

        Gaussian p(y):  −JD/2 log 2π − (J−1)D/2 log σ² − D/2 log λ − E[S]/2σ² − J E‖z̄‖²/2λ,   λ = σ² + Jτ²
        flat p(y):      −(J−1)D/2 log 2πσ² − D/2 log J − E[S]/2σ²

        E[S] = Σ_j ‖μ_j − μ̄‖² + (1 − 1/J) Σ_jk s²_jk        E‖z̄‖² = ‖μ̄‖² + (1/J²) Σ_jk s²_jk

    Args:
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        Shape [B].
    """
    _, views, dim = mu.shape
    within, centre = _expected_scatter(mu, log_var)
    if prior.flat:
        constant = (views - 1) * math.log(2 * math.pi * prior.sigma2) + math.log(views)
        return -0.5 * (dim * constant + within / prior.sigma2)
    lam = prior.sigma2 + views * prior.rho
    constant = views * _LOG_2PI + (views - 1) * math.log(prior.sigma2) + math.log(lam)
    return -0.5 * (dim * constant + within / prior.sigma2 + views * centre / lam)


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
    _, views, dim = mu.shape
    within, centre = _expected_scatter(mu, log_var)
    if prior.flat and views == 1:
        raise ValueError("a flat p(y) needs at least two views, found one; use more views or the Gaussian prior")
    energy = within / prior.sigma2
    if not prior.flat:
        energy = energy + views * centre / (prior.sigma2 + views * prior.rho)
    return energy.mean() / (views * dim)


def _expected_scatter(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """E_q[S] and E_q‖z̄‖², each of shape [B]."""
    mu, variance = _at_least_float32(mu), _at_least_float32(log_var).exp()
    views = mu.shape[1]
    centre = mu.mean(1, keepdim=True)
    spread = variance.sum((1, 2))
    within = (mu - centre).square().sum((1, 2)) + (1 - 1 / views) * spread
    return within, centre.square().sum((1, 2)) + spread / views**2


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
