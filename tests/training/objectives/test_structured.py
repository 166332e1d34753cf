"""The structured posterior is Bayes' rule: dense Gaussian conditioning gives the same moments and densities."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from training.objectives import structured
from training.objectives.prior import Prior, log_prior
from training.objectives.simvae import virial_ratio

RHO = torch.tensor([0.1, 0.5, 0.87, 0.99], dtype=torch.float64)
PRIORS = [Prior(0.87), Prior(RHO)]
Draw = Callable[..., tuple[Tensor, Tensor]]


def dense(message: Tensor, log_r: Tensor, rho: float) -> tuple[MultivariateNormal, MultivariateNormal]:
    """Prior of z_1..z_J, and posterior of y, z_1..z_J, for one group and one dimension; messages of shape [J]."""
    views = len(message)
    share = torch.full((1 + views, 1 + views), rho, dtype=torch.float64)
    covariance = share + (1 - rho) * torch.diag(torch.tensor([0.0] + [1.0] * views, dtype=torch.float64))
    observed = covariance[1:, 1:] + torch.diag(log_r.exp())
    gain = torch.linalg.solve(observed, covariance[1:]).T
    posterior = covariance - gain @ covariance[1:]
    zeros = torch.zeros(views, dtype=torch.float64)
    return MultivariateNormal(zeros, covariance[1:, 1:]), MultivariateNormal(
        gain @ message, (posterior + posterior.T) / 2
    )


def each(message: Tensor, prior: Prior) -> list[tuple[int, int, float]]:
    """Every group and dimension, with the dimension's correlation."""
    rho = prior.correlations(message).tolist()
    return [(group, k, rho[k]) for group in range(len(message)) for k in range(message.shape[-1])]


@pytest.mark.parametrize("views", [1, 2, 5])
@pytest.mark.parametrize("prior", PRIORS)
def test_content_and_marginals_are_those_of_dense_conditioning(views: int, prior: Prior, draw: Draw) -> None:
    message, log_r = draw(views=views)
    content_mean, content_variance = structured.content(message, log_r, prior)
    mean, log_var = structured.marginals(message, log_r, prior)
    for group, k, rho in each(message, prior):
        _, posterior = dense(message[group, :, k], log_r[group, :, k], rho)
        found_mean = torch.cat((content_mean[group, k, None], mean[group, :, k]))
        found_variance = torch.cat((content_variance[group, k, None], log_var[group, :, k].exp()))
        torch.testing.assert_close(found_mean, posterior.mean, rtol=0, atol=1e-10)
        torch.testing.assert_close(found_variance, posterior.variance, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_samples_have_the_dense_mean_and_covariance_exactly(prior: Prior, draw: Draw) -> None:
    """A sample is affine in its noise, z = a + A ε; then its mean is a and its covariance A Aᵀ."""
    message, log_r = draw(groups=1, views=3)
    noise = torch.zeros(1, 4, 4, dtype=torch.float64)

    def from_noise(noise: Tensor) -> Tensor:
        return structured.sample(message, log_r, prior, noise)

    slope = torch.autograd.functional.jacobian(from_noise, noise)[0, :, :, 0]  # [J, D, J + 1, D]
    for _, k, rho in each(message, prior):
        _, posterior = dense(message[0, :, k], log_r[0, :, k], rho)
        torch.testing.assert_close(from_noise(noise)[0, :, k], posterior.mean[1:], rtol=0, atol=1e-10)
        covariance = slope[:, k, :, k] @ slope[:, k, :, k].T
        torch.testing.assert_close(covariance, posterior.covariance_matrix[1:, 1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("views", [1, 2, 5])
@pytest.mark.parametrize("prior", PRIORS)
def test_kl_evidence_and_density_ratio_are_those_of_the_dense_gaussians(views: int, prior: Prior, draw: Draw) -> None:
    message, log_r = draw(views=views)
    z, _ = draw(views=views)
    divergence, evidence, ratio = (torch.zeros(3, dtype=torch.float64) for _ in range(3))
    for group, k, rho in each(message, prior):
        p, joint = dense(message[group, :, k], log_r[group, :, k], rho)
        q = MultivariateNormal(joint.mean[1:], joint.covariance_matrix[1:, 1:])
        noisy = MultivariateNormal(p.mean, p.covariance_matrix + torch.diag(log_r[group, :, k].exp()))
        divergence[group] += kl_divergence(q, p)
        evidence[group] += noisy.log_prob(message[group, :, k])
        ratio[group] += p.log_prob(z[group, :, k]) - q.log_prob(z[group, :, k])
    torch.testing.assert_close(structured.kl(message, log_r, prior), divergence, rtol=0, atol=1e-10)
    torch.testing.assert_close(structured.log_evidence(message, log_r, prior), evidence, rtol=0, atol=1e-10)
    torch.testing.assert_close(structured.log_density_ratio(z, message, log_r, prior), ratio, rtol=1e-12, atol=1e-10)


def test_the_virial_ratio_counts_the_correlations_between_views(draw: Draw) -> None:
    """E[zᵀ Σ⁻¹ z] / JD under the dense posterior, which its variances alone do not give."""
    message, log_r = draw(views=3)
    prior, energy = Prior(RHO), 0.0
    for group, k, rho in each(message, prior):
        p, joint = dense(message[group, :, k], log_r[group, :, k], rho)
        second_moment = joint.covariance_matrix[1:, 1:] + joint.mean[1:].outer(joint.mean[1:])
        energy += (p.precision_matrix @ second_moment).trace().item()
    found = structured.virial_ratio(message, log_r, prior).item()
    assert found == pytest.approx(energy / (3 * 3 * 4), abs=1e-10)
    assert found != pytest.approx(virial_ratio(*structured.marginals(message, log_r, prior), prior).item(), rel=0.01)


def test_the_mean_density_ratio_of_samples_is_minus_the_kl(draw: Draw, generator: torch.Generator) -> None:
    message, log_r = draw(groups=1, views=3)
    prior = Prior(RHO)
    noise = torch.randn(20_000, 1, 4, 4, generator=generator, dtype=torch.float64)
    ratios = structured.log_density_ratio(structured.sample(message, log_r, prior, noise), message, log_r, prior)
    error = ratios.std() / len(ratios) ** 0.5
    assert abs(ratios.mean() + structured.kl(message, log_r, prior)[0]) < 4 * error


@pytest.mark.parametrize("prior", PRIORS)
def test_one_image_is_a_group_of_one_whatever_the_correlation(prior: Prior, draw: Draw) -> None:
    message, log_r = draw(views=1)
    for alone, joint in zip(
        structured.single(message, log_r), structured.marginals(message, log_r, prior), strict=True
    ):
        torch.testing.assert_close(alone, joint, rtol=0, atol=1e-12)


def test_views_and_groups_can_be_permuted_but_views_not_moved_between_groups(draw: Draw) -> None:
    message, log_r = draw(views=3)
    prior, before = Prior(RHO), structured.kl(message, log_r, Prior(RHO))
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(structured.kl(message[:, views], log_r[:, views], prior), before)
    torch.testing.assert_close(structured.kl(message[groups], log_r[groups], prior), before[groups])
    moved = torch.cat((message[:, :1], message[groups, 1:]), 1)
    assert not torch.allclose(structured.kl(moved, log_r, prior).sum(), before.sum())


def test_a_view_that_says_nothing_leaves_the_others_as_they_were(draw: Draw) -> None:
    message, log_r = draw(views=3)
    log_r[:, 2] = 60
    prior = Prior(RHO)
    torch.testing.assert_close(structured.kl(message, log_r, prior), structured.kl(message[:, :2], log_r[:, :2], prior))
    with_it, without = (structured.marginals(message[:, :n], log_r[:, :n], prior) for n in (3, 2))
    torch.testing.assert_close(with_it[0][:, :2], without[0])
    torch.testing.assert_close(with_it[0][:, 2], structured.content(message[:, :2], log_r[:, :2], prior)[0])


def test_silence_is_the_prior_and_certainty_the_message(draw: Draw) -> None:
    message, _ = draw()
    prior = Prior(RHO)
    silent, certain = torch.full_like(message, 60), torch.full_like(message, -60)
    torch.testing.assert_close(structured.kl(message, silent, prior), torch.zeros(3, dtype=torch.float64))
    mean, _ = structured.marginals(message, certain, prior)
    torch.testing.assert_close(mean, message)
    evidence = structured.log_evidence(message, certain, prior)
    torch.testing.assert_close(evidence, log_prior(message, prior))


@pytest.mark.parametrize("shape", [(), (2,)])
def test_gradients_agree_with_finite_differences(
    shape: tuple[int, ...], draw: Draw, generator: torch.Generator
) -> None:
    message, log_r = (value.requires_grad_() for value in draw(groups=2, views=3, dim=2))
    logit = torch.full(shape, 1.2, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(2, 4, 2, generator=generator, dtype=torch.float64)

    def everything(message: Tensor, log_r: Tensor, logit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prior = Prior(logit.sigmoid())
        z = structured.sample(message, log_r, prior, noise)
        ratio = structured.log_density_ratio(z, message, log_r, prior)
        return structured.kl(message, log_r, prior), z, ratio

    assert torch.autograd.gradcheck(everything, (message, log_r, logit))


@pytest.mark.parametrize("log_r", [-20.0, 10.0])
@pytest.mark.parametrize("rho", [0.01, 0.999])
def test_float32_keeps_its_digits_at_the_ends_of_the_range(log_r: float, rho: float, draw: Draw) -> None:
    message, _ = draw(views=8)
    exact = structured.kl(message, torch.full_like(message, log_r), Prior(rho))
    found = structured.kl(message.float(), torch.full((3, 8, 4), log_r), Prior(rho))
    torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=1e-4)
    assert structured.kl(message.bfloat16(), torch.full((3, 8, 4), log_r), Prior(rho)).dtype == torch.float32


def test_a_flat_prior_is_refused(draw: Draw) -> None:
    with pytest.raises(ValueError, match="needs the Gaussian prior, found a flat one"):
        structured.kl(*draw(), Prior(flat=True))
