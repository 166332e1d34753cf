"""Laws of the prior of a group, in float64: closed forms against quadrature and dense Gaussians."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from torch import Tensor

from training.objectives.prior import Prior, log_prior, rho_from_views

PRIORS = [Prior(0.87), Prior(0.5), Prior(0.1), Prior(0.85, flat=True)]
Draw = Callable[..., tuple[Tensor, Tensor]]


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
def test_the_gaussian_prior_is_a_multivariate_normal_over_views(views: int, draw: Draw) -> None:
    z, _ = draw(views=views)
    rho = torch.tensor([0.1, 0.5, 0.87, 0.99], dtype=torch.float64)
    expected = np.zeros(3)
    for k in range(4):
        covariance = (1 - rho[k].item()) * np.eye(views) + rho[k].item()
        expected += np.atleast_1d(multivariate_normal(np.zeros(views), covariance).logpdf(z[:, :, k].numpy()))
    assert log_prior(z, Prior(rho)).numpy() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_tensor_of_correlations_means_what_the_number_means(prior: Prior, draw: Draw) -> None:
    z, _ = draw(views=3)
    for shape in ((), (4,)):
        tensor = Prior(torch.full(shape, prior.rho, dtype=torch.float64), prior.flat)
        torch.testing.assert_close(log_prior(z, tensor), log_prior(z, prior))
        torch.testing.assert_close(torch.as_tensor(tensor.sigma2).mean().item(), prior.sigma2)


def test_draws_in_front_are_taken_one_by_one(draw: Draw) -> None:
    z = torch.stack([draw()[0] for _ in range(5)])
    torch.testing.assert_close(log_prior(z, Prior()), torch.stack([log_prior(one, Prior()) for one in z]))


def test_identical_views_have_no_scatter_and_scatter_does_not_move_the_centre(generator: torch.Generator) -> None:
    prior = Prior(0.85, flat=True)
    z = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64).expand(2, 3, 4)
    nothing = log_prior(torch.zeros_like(z), prior)
    torch.testing.assert_close(log_prior(z, prior), nothing)
    scattered = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(log_prior(scattered, prior).sum(), scattered)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("views", [2, 5])
def test_the_correlation_of_views_is_recovered_whatever_their_number_and_scale(
    views: int, generator: torch.Generator
) -> None:
    """Within five standard errors of the truth, (1 − ρ)(1 + (J − 1)ρ) √(2 / (N J (J − 1)))."""
    rho, groups = torch.tensor([0.0, 0.3, 0.87], dtype=torch.float64), 20_000
    content = rho.sqrt() * torch.randn(groups, 1, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(groups, views, 3, generator=generator, dtype=torch.float64)
    means = 7 + 3 * (content + (1 - rho).sqrt() * noise)
    error = (1 - rho) * (1 + (views - 1) * rho) * math.sqrt(2 / (groups * views * (views - 1)))
    assert ((rho_from_views(means) - rho).abs() < 5 * error).all()


def test_a_dimension_that_never_varies_shares_nothing_and_identical_views_everything(draw: Draw) -> None:
    means = draw(dim=1)[0][:, :1].expand(3, 2, 1)
    dead = torch.ones_like(means)
    assert rho_from_views(torch.cat((means, dead), -1)).tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 1, 4)])
def test_a_correlation_needs_two_groups_of_two_views(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"found {shape[0]} of {shape[1]}"):
        rho_from_views(torch.zeros(shape))


@pytest.mark.parametrize("rho", [0.0, 1.0, -0.1, float("nan")])
def test_a_correlation_outside_zero_to_one_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Prior(rho)
