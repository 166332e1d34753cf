"""Laws of the SimVAE bound, in float64: closed forms against quadrature, dense Gaussians and Monte Carlo."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.distributions import kl_divergence as dense_kl

from training.objectives.prior import Prior, log_prior
from training.objectives.simvae import elbo, entropy, expected_log_prior, kl_divergence, virial_ratio
from training.objectives.vae import kl_to_standard_normal

PRIORS = [Prior(0.87), Prior(0.5), Prior(0.1), Prior(0.85, flat=True)]
PER_DIMENSION = Prior(torch.tensor([0.1, 0.5, 0.87, 0.99], dtype=torch.float64))
Draw = Callable[..., tuple[Tensor, Tensor]]
POINT = -1e4
"""A log variance so small that q is a point, and E_q[log p(z)] is log p(μ)."""


def covariance(views: int, rho: float) -> Tensor:
    return (1 - rho) * torch.eye(views, dtype=torch.float64) + rho


@pytest.mark.parametrize("prior", PRIORS)
def test_the_closed_form_expectation_agrees_with_monte_carlo(
    prior: Prior, draw: Draw, generator: torch.Generator
) -> None:
    mu, log_var = draw(groups=1, views=3)
    noise = torch.randn(100_000, 3, 4, generator=generator, dtype=torch.float64)
    draws = log_prior(mu + (0.5 * log_var).exp() * noise, prior)
    error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - expected_log_prior(mu, log_var, prior)[0]) < 4 * error


@pytest.mark.parametrize("views", [1, 2, 5])
def test_kl_is_that_of_the_dense_gaussians(views: int, draw: Draw) -> None:
    mu, log_var = draw(views=views)
    expected = torch.zeros(3, dtype=torch.float64)
    for k, rho in enumerate(PER_DIMENSION.rho.tolist()):
        p = MultivariateNormal(torch.zeros(views, dtype=torch.float64), covariance(views, rho))
        q = MultivariateNormal(mu[:, :, k], torch.diag_embed(log_var[:, :, k].exp()))
        expected += dense_kl(q, p)
    torch.testing.assert_close(kl_divergence(mu, log_var, PER_DIMENSION), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_bound_is_the_sum_of_its_terms_per_group_and_per_view(
    prior: Prior, draw: Draw, generator: torch.Generator
) -> None:
    mu, log_var = draw()
    log_likelihood = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    bound = elbo(log_likelihood, mu, log_var, prior, beta=3.0)
    expected = (log_likelihood.sum(1) + entropy(log_var) + expected_log_prior(mu, log_var, prior)) / 2
    torch.testing.assert_close(bound.value, expected)
    torch.testing.assert_close(bound.objective, bound.log_likelihood - 3 * bound.kl)


@pytest.mark.parametrize("prior", [Prior(0.87), PER_DIMENSION])
def test_one_view_is_a_plain_vae_in_value_and_gradient_whatever_the_correlation(prior: Prior, draw: Draw) -> None:
    mu, log_var = (value.requires_grad_() for value in draw(views=1))
    ours, vae = kl_divergence(mu, log_var, prior), kl_to_standard_normal(mu, log_var)
    torch.testing.assert_close(ours, vae, rtol=0, atol=1e-13)
    for ours_gradient, vae_gradient in zip(
        torch.autograd.grad(ours.sum(), (mu, log_var)), torch.autograd.grad(vae.sum(), (mu, log_var)), strict=True
    ):
        torch.testing.assert_close(ours_gradient, vae_gradient, rtol=0, atol=1e-14)


def test_views_without_correlation_are_as_many_plain_vaes(draw: Draw) -> None:
    mu, log_var = draw(views=3)
    torch.testing.assert_close(kl_divergence(mu, log_var, Prior(1e-14)), kl_to_standard_normal(mu, log_var))


@pytest.mark.parametrize("prior", PRIORS)
def test_views_can_be_permuted_within_a_group_but_not_across_groups(prior: Prior, draw: Draw) -> None:
    mu, log_var = draw(views=3)
    before = kl_divergence(mu, log_var, prior)
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(kl_divergence(mu[:, views], log_var[:, views], prior), before)
    torch.testing.assert_close(kl_divergence(mu[groups], log_var[groups], prior), before[groups])
    moved = mu.clone()
    moved[0, 0], moved[1, 0] = mu[1, 0], mu[0, 0]
    assert not torch.allclose(kl_divergence(moved, log_var, prior).sum(), before.sum())


def test_the_flat_prior_knows_no_scale(draw: Draw) -> None:
    """z → cz with σ → cσ adds D log c to the flat form, whatever the data: σ² is a unit of length."""
    mu, log_var = draw(views=3)
    narrow, wide = Prior(0.9, flat=True), Prior(0.6, flat=True)
    scale = (wide.sigma2 / narrow.sigma2) ** 0.5
    before = kl_divergence(mu, log_var, narrow)
    after = kl_divergence(scale * mu, log_var + 2 * math.log(scale), wide)
    torch.testing.assert_close(before - after, torch.full_like(before, 4 * math.log(scale)))


def test_the_gaussian_prior_depends_on_the_correlation_alone(draw: Draw) -> None:
    """With z → cz, σ² → c²σ², τ² → c²τ² the KL stays, so fixing σ² + τ² = 1 loses nothing."""
    mu, log_var = draw(groups=1, views=2, dim=1)
    prior, scale = Prior(0.7), 1.7
    q = MultivariateNormal(scale * mu[0, :, 0], torch.diag(log_var[0, :, 0].exp() * scale**2))
    p = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance(2, 0.7) * scale**2)
    torch.testing.assert_close(dense_kl(q, p), kl_divergence(mu, log_var, prior)[0])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_gradients_agree_with_finite_differences(flat: bool, shape: tuple[int, ...], draw: Draw) -> None:
    mu, log_var = (value.requires_grad_() for value in draw(groups=2, views=3, dim=2))
    logit = torch.linspace(0.5, 2, 2, dtype=torch.float64)[: math.prod(shape)].reshape(shape).requires_grad_()

    def divergence(mu: Tensor, log_var: Tensor, logit: Tensor) -> Tensor:
        return kl_divergence(mu, log_var, Prior(logit.sigmoid(), flat))

    assert torch.autograd.gradcheck(divergence, (mu, log_var, logit))


def test_the_best_correlation_of_many_groups_is_the_one_they_were_drawn_with(generator: torch.Generator) -> None:
    rho = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)
    content = rho.sqrt() * torch.randn(50_000, 1, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(50_000, 2, 3, generator=generator, dtype=torch.float64)
    z = content + (1 - rho).sqrt() * noise
    learned = rho.clone().requires_grad_()
    slope, curvature = (
        torch.autograd.functional.jacobian(lambda r: log_prior(z, Prior(r)).mean(), learned),
        torch.autograd.functional.hessian(lambda r: log_prior(z, Prior(r)).mean(), learned).diagonal(),
    )
    assert (curvature < 0).all()
    assert (slope / curvature).abs().max() < 0.01  # a Newton step away from where they were


def test_entropy_rises_by_a_half_per_unit_of_log_variance(draw: Draw) -> None:
    _, log_var = draw()
    log_var.requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(log_var).sum(), log_var)
    torch.testing.assert_close(gradient, torch.full_like(log_var, 0.5))


def test_a_group_does_not_notice_how_many_others_there_are(draw: Draw) -> None:
    mu, log_var = draw()
    alone = kl_divergence(mu[:1], log_var[:1], Prior())
    torch.testing.assert_close(kl_divergence(mu.repeat(5, 1, 1), log_var.repeat(5, 1, 1), Prior())[:1], alone)


@pytest.mark.parametrize("flat", [False, True])
def test_sampled_and_closed_form_objectives_have_the_same_mean_gradient(
    flat: bool, draw: Draw, generator: torch.Generator
) -> None:
    mu, log_var = draw(groups=1)
    rho = PER_DIMENSION.rho

    def exact(mu: Tensor, log_var: Tensor, rho: Tensor) -> Tensor:
        return -kl_divergence(mu, log_var, Prior(rho, flat)).sum()

    def sampled(mu: Tensor, log_var: Tensor, rho: Tensor, noise: Tensor) -> Tensor:
        z = mu + (0.5 * log_var).exp() * noise
        return (entropy(log_var) + log_prior(z, Prior(rho, flat))).sum()

    noise = torch.randn(2_000, 1, 2, 4, generator=generator, dtype=torch.float64)
    expected = torch.func.grad(exact, (0, 1, 2))(mu, log_var, rho)
    each = torch.func.vmap(torch.func.grad(sampled, (0, 1, 2)), (None, None, None, 0))
    draws = each(mu, log_var, rho, noise)
    for value, sample in zip(expected, draws, strict=True):
        error = sample.std(0) / math.sqrt(len(sample)) + 1e-12
        assert ((sample.mean(0) - value) / error).abs().max() < 4.5


@pytest.mark.parametrize(("views", "flat"), [(1, False), (2, False), (10, False), (2, True), (10, True)])
def test_a_dimension_that_says_nothing_rests_at_its_known_variance(views: int, flat: bool) -> None:
    """1/s² = (1 − 1/J)/σ² + 1/Jλ at μ = 0, without the second term under a flat p(y): the mark of a collapse."""
    rho = PER_DIMENSION.rho
    precision = (1 - 1 / views) / (1 - rho) + (0 if flat else 1 / (views * (1 + (views - 1) * rho)))
    log_var = (-precision.log()).expand(1, views, 4).clone().requires_grad_()
    mu = torch.zeros(1, views, 4, dtype=torch.float64, requires_grad=True)
    for gradient in torch.autograd.grad(kl_divergence(mu, log_var, Prior(rho, flat)).sum(), (mu, log_var)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(("views", "flat", "expected"), [(2, False, 0.280), (2, True, 0.300), (10, False, 0.166)])
def test_the_variance_of_a_collapsed_dimension_in_worked_cases(views: int, flat: bool, expected: float) -> None:
    """σ² = 0.15 at τ² = 1, hence the factor 1.15 between its gauge and ours."""
    log_var = torch.full((1, views, 1), -1.0, dtype=torch.float64, requires_grad=True)
    prior = Prior(1 / 1.15, flat)
    for _ in range(60):  # fixed point of ∂KL/∂log s² = ½ (s² · precision − 1)
        (gradient,) = torch.autograd.grad(kl_divergence(torch.zeros_like(log_var), log_var, prior).sum(), log_var)
        log_var = (log_var - (2 * gradient + 1).log()).detach().requires_grad_()
    assert 1.15 * log_var.exp().flatten()[0].item() == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_released_entropy_is_a_beta_of_two_pi_with_longer_latents(prior: Prior, draw: Draw) -> None:
    """The released code weighs log s² by π instead of ½; with z = √2π z̃ that is 2π times the KL, up to a constant."""
    mu, log_var = draw(views=3)
    released = -math.pi * log_var.sum((1, 2)) - expected_log_prior(mu, log_var, prior)
    scale = math.sqrt(2 * math.pi)
    rescaled = 2 * math.pi * kl_divergence(mu / scale, log_var - 2 * math.log(scale), prior)
    difference = rescaled - released
    torch.testing.assert_close(difference, difference[:1].expand(3))


@pytest.mark.parametrize("log_variance", [-30.0, 30.0])
@pytest.mark.parametrize("prior", PRIORS)
def test_extreme_variances_and_many_views_stay_finite(prior: Prior, log_variance: float) -> None:
    mu = torch.zeros(2, 64, 8, dtype=torch.bfloat16)
    result = kl_divergence(mu, torch.full_like(mu, log_variance), prior)
    assert result.dtype == torch.float32
    assert result.isfinite().all()


def test_float32_is_kept_under_bf16_autocast(draw: Draw) -> None:
    mu, log_var = (value.float() for value in draw())
    with torch.autocast("cpu", torch.bfloat16):
        inside = kl_divergence(mu, log_var, Prior())
    torch.testing.assert_close(inside, kl_divergence(mu, log_var, Prior()), rtol=0, atol=0)


@pytest.mark.parametrize("prior", [prior for prior in PRIORS if not prior.flat])  # the flat one cannot be drawn from
def test_the_virial_ratio_is_one_for_latents_from_the_prior(prior: Prior, generator: torch.Generator) -> None:
    content = prior.rho**0.5 * torch.randn(4_000, 1, 8, generator=generator)
    z = content + prior.sigma2**0.5 * torch.randn(4_000, 3, 8, generator=generator)
    assert virial_ratio(z, torch.full_like(z, POINT), prior).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_virial_ratio_is_one_at_the_best_scale_of_the_latents(prior: Prior, draw: Draw) -> None:
    """The ratio grows as c² under z → cz; the KL is least where it is 1."""
    mu, log_var = draw(views=3)
    scale = (0.5 * -virial_ratio(mu, log_var, prior).log()).exp().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(scale * mu, log_var + 2 * scale.log(), prior).sum(), scale)
    assert gradient.item() == pytest.approx(0, abs=1e-9)
