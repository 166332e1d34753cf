"""Importance weights are ratios of densities, and their bound closes on log p(x) from below."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from training.objectives import structured
from training.objectives.bounds import importance_weighted, log_weights, structured_log_weights
from training.objectives.prior import Prior
from training.objectives.simvae import kl_divergence

PRIOR = Prior(torch.tensor([0.5, 0.87, 0.1, 0.99], dtype=torch.float64))
Draw = Callable[..., tuple[Tensor, Tensor]]


def covariance(views: int, k: int) -> Tensor:
    rho = PRIOR.correlations(torch.zeros(4, dtype=torch.float64))[k]
    return (1 - rho) * torch.eye(views, dtype=torch.float64) + rho


def test_the_bound_is_the_logarithm_of_the_mean_weight(generator: torch.Generator) -> None:
    weights = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(importance_weighted(weights.log()), weights.mean(0).log())
    huge = importance_weighted(weights.log() - 5_000)
    torch.testing.assert_close(huge, weights.mean(0).log() - 5_000)


def test_log_weights_are_differences_of_dense_log_densities(draw: Draw, generator: torch.Generator) -> None:
    mu, log_var = draw()
    z = torch.stack([draw()[0] for _ in range(5)])
    log_likelihood = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64)
    expected = log_likelihood.sum(2) - Normal(mu, (0.5 * log_var).exp()).log_prob(z).sum((2, 3))
    for k in range(4):
        expected += MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance(2, k)).log_prob(z[..., k])
    found = log_weights(log_likelihood, z, mu, log_var, PRIOR)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_structured_log_weights_add_the_likelihood_of_the_group_to_its_density_ratio(
    draw: Draw, generator: torch.Generator
) -> None:
    message, log_r = draw()
    z = torch.stack([draw()[0] for _ in range(5)])
    log_likelihood = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64)
    ratio = torch.stack([structured.log_density_ratio(one, message, log_r, PRIOR) for one in z])
    found = structured_log_weights(log_likelihood, z, message, log_r, PRIOR)
    torch.testing.assert_close(found, ratio + log_likelihood.sum(2))


def test_with_the_true_posterior_a_single_weight_is_exact(draw: Draw, generator: torch.Generator) -> None:
    """Where x_j = z_j + noise of variance R, the message is the likelihood and every weight equals p(x)."""
    x, log_r = draw()
    noise = torch.randn(6, 3, 3, 4, generator=generator, dtype=torch.float64)
    z = structured.sample(x, log_r, PRIOR, noise)
    log_likelihood = Normal(z, (0.5 * log_r).exp()).log_prob(x).sum(3)
    weights = structured_log_weights(log_likelihood, z, x, log_r, PRIOR)
    exact = torch.zeros(3, dtype=torch.float64)
    for k in range(4):
        total = covariance(2, k) + torch.diag_embed(log_r[..., k].exp())
        exact += MultivariateNormal(torch.zeros(2, dtype=torch.float64), total).log_prob(x[..., k])
    torch.testing.assert_close(weights, exact.expand(6, 3), rtol=0, atol=1e-10)


def test_the_mean_log_weight_is_the_elbo(draw: Draw, generator: torch.Generator) -> None:
    mu, log_var = draw(groups=1)
    z = mu + (0.5 * log_var).exp() * torch.randn(50_000, 1, 2, 4, generator=generator, dtype=torch.float64)
    weights = log_weights(torch.zeros(50_000, 1, 2, dtype=torch.float64), z, mu, log_var, PRIOR)
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() + kl_divergence(mu, log_var, PRIOR)[0]) < 4 * error


def test_weights_of_a_density_average_to_one(generator: torch.Generator) -> None:
    """With no likelihood p(x) = 1; proposals wider than the prior keep the variance of the weights finite."""
    log_var = torch.full((1, 2, 4), 0.3, dtype=torch.float64)
    z = (0.5 * log_var).exp() * torch.randn(200_000, 1, 2, 4, generator=generator, dtype=torch.float64)
    prior = Prior(0.2)
    weights = log_weights(torch.zeros(200_000, 1, 2, dtype=torch.float64), z, torch.zeros_like(log_var), log_var, prior)
    error = weights.exp().std().item() / len(weights) ** 0.5
    assert importance_weighted(weights).exp().item() == pytest.approx(1, abs=4 * error)
