"""Laws of the SimVAE bound, in float64: closed forms against quadrature, dense Gaussians and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.distributions import kl_divergence as dense_kl

from training.objectives.simvae import Prior, elbo, entropy, expected_log_prior, kl_divergence, virial_ratio

PRIORS = [Prior(0.87), Prior(0.5), Prior(0.1), Prior(0.85, flat=True)]
POINT = -1e4
"""A log variance so small that q is a point, and E_q[log p(z)] is log p(μ)."""


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def posterior(generator: torch.Generator, groups: int = 3, views: int = 2, dim: int = 4) -> tuple[Tensor, Tensor]:
    shape = (groups, views, dim)
    mu = torch.randn(shape, generator=generator, dtype=torch.float64)
    return mu, torch.randn(shape, generator=generator, dtype=torch.float64) - 1


def log_prior(z: Tensor, prior: Prior) -> Tensor:
    """Log p(z_1..z_J) of points, shape [B]."""
    return expected_log_prior(z, torch.full_like(z, POINT), prior)


def covariance(views: int, prior: Prior) -> Tensor:
    return prior.sigma2 * torch.eye(views, dtype=torch.float64) + prior.rho


@pytest.mark.parametrize("views", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("prior", PRIORS)
def test_integrating_the_content_out_agrees_with_quadrature(views: int, prior: Prior) -> None:
    z = np.random.default_rng(views).normal(size=views)

    def joint(y: float) -> float:
        content = 1.0 if prior.flat else norm.pdf(y, scale=prior.rho**0.5)
        return float(content * norm.pdf(z, loc=y, scale=prior.sigma2**0.5).prod())

    centre = float(z.mean())
    integral, _ = quad(joint, centre - 8, centre + 8, points=[centre], epsabs=0, epsrel=1e-11, limit=200)
    found = log_prior(torch.from_numpy(z)[None, :, None], prior).item()
    assert found == pytest.approx(math.log(integral), abs=1e-9)


@pytest.mark.parametrize("views", [1, 2, 3, 5, 10])
def test_the_gaussian_prior_is_a_multivariate_normal_over_views(views: int, generator: torch.Generator) -> None:
    prior = Prior(0.87)
    z, _ = posterior(generator, views=views)
    dense = multivariate_normal(np.zeros(views), covariance(views, prior).numpy())
    expected = np.array([sum(dense.logpdf(group[:, k]) for k in range(4)) for group in z.numpy()])
    assert log_prior(z, prior).numpy() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_closed_form_expectation_agrees_with_monte_carlo(prior: Prior, generator: torch.Generator) -> None:
    mu, log_var = posterior(generator, groups=1, views=3)
    noise = torch.randn(100_000, 3, 4, generator=generator, dtype=torch.float64)
    draws = log_prior(mu + (0.5 * log_var).exp() * noise, prior)
    error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - expected_log_prior(mu, log_var, prior)[0]) < 4 * error


@pytest.mark.parametrize("views", [1, 2, 5])
def test_kl_is_that_of_the_dense_gaussians(views: int, generator: torch.Generator) -> None:
    prior = Prior(0.87)
    mu, log_var = posterior(generator, views=views)
    expected = torch.zeros(3, dtype=torch.float64)
    p = MultivariateNormal(torch.zeros(views, dtype=torch.float64), covariance(views, prior))
    for k in range(4):
        q = MultivariateNormal(mu[:, :, k], torch.diag_embed(log_var[:, :, k].exp()))
        expected += dense_kl(q, p)
    torch.testing.assert_close(kl_divergence(mu, log_var, prior), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_bound_is_the_sum_of_its_terms_per_group_and_per_view(prior: Prior, generator: torch.Generator) -> None:
    mu, log_var = posterior(generator)
    log_likelihood = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    bound = elbo(log_likelihood, mu, log_var, prior, beta=3.0)
    expected = (log_likelihood.sum(1) + entropy(log_var) + expected_log_prior(mu, log_var, prior)) / 2
    torch.testing.assert_close(bound.value, expected)
    torch.testing.assert_close(bound.objective, bound.log_likelihood - 3 * bound.kl)


def test_one_view_is_a_plain_vae_in_value_and_gradient(generator: torch.Generator) -> None:
    mu, log_var = (value.requires_grad_() for value in posterior(generator, views=1))
    ours = kl_divergence(mu, log_var, Prior(0.87)).sum()
    vae = 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum()
    torch.testing.assert_close(ours, vae)
    for ours_gradient, vae_gradient in zip(
        torch.autograd.grad(ours, (mu, log_var)), torch.autograd.grad(vae, (mu, log_var)), strict=True
    ):
        torch.testing.assert_close(ours_gradient, vae_gradient)


@pytest.mark.parametrize("prior", PRIORS)
def test_views_can_be_permuted_within_a_group_but_not_across_groups(prior: Prior, generator: torch.Generator) -> None:
    mu, log_var = posterior(generator, views=3)
    before = kl_divergence(mu, log_var, prior)
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(kl_divergence(mu[:, views], log_var[:, views], prior), before)
    torch.testing.assert_close(kl_divergence(mu[groups], log_var[groups], prior), before[groups])
    moved = mu.clone()
    moved[0, 0], moved[1, 0] = mu[1, 0], mu[0, 0]
    assert not torch.allclose(kl_divergence(moved, log_var, prior).sum(), before.sum())


def test_the_flat_prior_knows_no_scale(generator: torch.Generator) -> None:
    """z → cz with σ → cσ adds D log c to the flat form, whatever the data: σ² is a unit of length."""
    mu, log_var = posterior(generator, views=3)
    narrow, wide = Prior(0.9, flat=True), Prior(0.6, flat=True)
    scale = (wide.sigma2 / narrow.sigma2) ** 0.5
    before = kl_divergence(mu, log_var, narrow)
    after = kl_divergence(scale * mu, log_var + 2 * math.log(scale), wide)
    torch.testing.assert_close(before - after, torch.full_like(before, 4 * math.log(scale)))


def test_the_gaussian_prior_depends_on_the_correlation_alone(generator: torch.Generator) -> None:
    """With z → cz, σ² → c²σ², τ² → c²τ² the KL stays, so fixing σ² + τ² = 1 loses nothing."""
    mu, log_var = posterior(generator, groups=1, views=2, dim=1)
    prior, scale = Prior(0.7), 1.7
    q = MultivariateNormal(scale * mu[0, :, 0], torch.diag(log_var[0, :, 0].exp() * scale**2))
    p = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance(2, prior) * scale**2)
    torch.testing.assert_close(dense_kl(q, p), kl_divergence(mu, log_var, prior)[0])


def test_identical_views_have_no_scatter_and_scatter_does_not_move_the_centre(generator: torch.Generator) -> None:
    prior = Prior(0.85, flat=True)
    z = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64).expand(2, 3, 4)
    nothing = log_prior(torch.zeros_like(z), prior)
    torch.testing.assert_close(log_prior(z, prior), nothing)
    scattered = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(log_prior(scattered, prior).sum(), scattered)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("prior", PRIORS)
def test_gradients_agree_with_finite_differences(prior: Prior, generator: torch.Generator) -> None:
    mu, log_var = (value.requires_grad_() for value in posterior(generator, groups=2, views=3, dim=2))
    assert torch.autograd.gradcheck(lambda m, s: kl_divergence(m, s, prior), (mu, log_var))


def test_entropy_rises_by_a_half_per_unit_of_log_variance(generator: torch.Generator) -> None:
    _, log_var = posterior(generator)
    log_var.requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(log_var).sum(), log_var)
    torch.testing.assert_close(gradient, torch.full_like(log_var, 0.5))


def test_a_group_does_not_notice_how_many_others_there_are(generator: torch.Generator) -> None:
    mu, log_var = posterior(generator)
    alone = kl_divergence(mu[:1], log_var[:1], Prior())
    torch.testing.assert_close(kl_divergence(mu.repeat(5, 1, 1), log_var.repeat(5, 1, 1), Prior())[:1], alone)


@pytest.mark.parametrize("prior", PRIORS)
def test_sampled_and_closed_form_objectives_have_the_same_mean_gradient(
    prior: Prior, generator: torch.Generator
) -> None:
    mu, log_var = (value.requires_grad_() for value in posterior(generator, groups=1))
    exact = torch.autograd.grad(-kl_divergence(mu, log_var, prior).sum(), (mu, log_var))
    draws: list[list[Tensor]] = [[], []]
    for _ in range(2_000):
        z = mu + (0.5 * log_var).exp() * torch.randn(mu.shape, generator=generator, dtype=mu.dtype)
        for kept, gradient in zip(
            draws, torch.autograd.grad((entropy(log_var) + log_prior(z, prior)).sum(), (mu, log_var)), strict=True
        ):
            kept.append(gradient)
    for expected, kept in zip(exact, draws, strict=True):
        sample = torch.stack(kept)
        z_scores = (sample.mean(0) - expected) / (sample.std(0) / math.sqrt(len(sample)) + 1e-12)
        assert z_scores.abs().max() < 4.5


@pytest.mark.parametrize("log_variance", [-30.0, 30.0])
@pytest.mark.parametrize("prior", PRIORS)
def test_extreme_variances_and_many_views_stay_finite(prior: Prior, log_variance: float) -> None:
    mu = torch.zeros(2, 64, 8, dtype=torch.bfloat16)
    result = kl_divergence(mu, torch.full_like(mu, log_variance), prior)
    assert result.dtype == torch.float32
    assert result.isfinite().all()


def test_float32_is_kept_under_bf16_autocast(generator: torch.Generator) -> None:
    mu, log_var = (value.float() for value in posterior(generator))
    with torch.autocast("cpu", torch.bfloat16):
        inside = kl_divergence(mu, log_var, Prior())
    torch.testing.assert_close(inside, kl_divergence(mu, log_var, Prior()), rtol=0, atol=0)


@pytest.mark.parametrize("prior", [prior for prior in PRIORS if not prior.flat])  # the flat one cannot be drawn from
def test_the_virial_ratio_is_one_for_latents_from_the_prior(prior: Prior, generator: torch.Generator) -> None:
    content = prior.rho**0.5 * torch.randn(4_000, 1, 8, generator=generator)
    z = content + prior.sigma2**0.5 * torch.randn(4_000, 3, 8, generator=generator)
    assert virial_ratio(z, torch.full_like(z, POINT), prior).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_virial_ratio_is_one_at_the_best_scale_of_the_latents(prior: Prior, generator: torch.Generator) -> None:
    """The ratio grows as c² under z → cz; the KL is least where it is 1."""
    mu, log_var = posterior(generator, views=3)
    scale = (0.5 * -virial_ratio(mu, log_var, prior).log()).exp().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(scale * mu, log_var + 2 * scale.log(), prior).sum(), scale)
    assert gradient.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 1.0, -0.1, float("nan")])
def test_a_correlation_outside_zero_to_one_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Prior(rho)
