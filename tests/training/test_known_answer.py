"""Training on linear-Gaussian data, where the optimum is known in closed form, must reach it.

x_j = W z_j + e      W orthonormal      e ~ N(0, ε I)      z_1..z_J from the prior of a group
"""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from training.likelihoods import gaussian_log_prob, optimal_variance
from training.objectives import simvae, structured
from training.objectives.bounds import importance_weighted, log_weights
from training.objectives.prior import Prior
from training.objectives.simvae import Elbo

DIM, PIXELS, NOISE, RHO = 4, 16, 0.05, 0.87
Matrix = NDArray[np.float64]


def exact_log_probability(views: int, within: float = 1 - RHO, between: float = RHO) -> float:
    """E[log p(x_1..x_J)] per group: the negative entropy of a Gaussian."""
    signal = (within + NOISE) * np.eye(views) + between * np.ones((views, views))
    per_dimension = views * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(signal)[1]
    rest = views * (PIXELS - DIM) * (1 + math.log(2 * math.pi * NOISE))
    return float(-0.5 * (DIM * per_dimension + rest))


def optimum(views: int, within: float = 1 - RHO, between: float = RHO) -> tuple[float, float, float]:
    """The best bound per group of an encoder that sees one view at a time, with the true model; its gain a and s²."""
    identity, ones = np.eye(views), np.ones((views, views))
    precision = np.linalg.inv(within * identity + between * ones)
    data = (within + NOISE) * identity + between * ones
    weight = views * data[0, 0] / NOISE
    gain, variance = weight / (weight + np.trace(precision @ data)), 1 / (1 / NOISE + precision[0, 0])
    return expected_bound(precision, data, gain, variance), float(gain), float(variance)


def expected_bound(
    precision: Matrix, data: Matrix, gain: float, variance: float, scale: float = 1, noise: float = NOISE
) -> float:
    """E[ELBO] per group of μ_j = a Wᵀx_j and s² with a decoder cW and pixel variance ε': traces of J × J matrices."""
    views = len(data)
    reconstruction = -views / 2 * math.log(2 * math.pi * noise)
    reconstruction -= views / (2 * noise) * ((1 - scale * gain) ** 2 * data[0, 0] + scale**2 * variance)
    log_prior = -views / 2 * math.log(2 * math.pi) + 0.5 * np.linalg.slogdet(precision)[1]
    log_prior -= 0.5 * (gain**2 * np.trace(precision @ data) + variance * np.trace(precision))
    entropy = views / 2 * (1 + math.log(2 * math.pi * variance))
    rest = -views / 2 * (PIXELS - DIM) * (math.log(2 * math.pi * noise) + NOISE / noise)
    return float(DIM * (reconstruction + log_prior + entropy) + rest)


def optimum_of_everything(views: int) -> tuple[float, float, float]:
    """The best bound per group when ρ, ε and the decoder's scale may move too; that ρ and ε."""
    identity, ones = np.eye(views), np.ones((views, views))

    def loss(free: Matrix) -> float:
        gain, log_variance, scale, logit, log_noise = free
        rho = 1 / (1 + math.exp(-logit))
        precision, data = np.linalg.inv((1 - rho) * identity + rho * ones), (1 - RHO + NOISE) * identity + RHO * ones
        return -expected_bound(precision, data, gain, math.exp(log_variance), scale, math.exp(log_noise))

    best = minimize(loss, [0.9, -3, 1, 2, -3], method="Nelder-Mead", options={"maxfev": 20_000, "fatol": 1e-12})
    return -float(best.fun), 1 / (1 + math.exp(-best.x[3])), math.exp(best.x[4])


class LinearGaussian(nn.Module):
    """Data with known latents, and a linear model to recover them, of which some parts are learned and others true."""

    def __init__(
        self,
        views: int,
        *,
        posterior: str = "independent",
        true_decoder: bool = False,
        variance: str = "true",
        rho: float | list[float] | None = None,
        true_rho: float | list[float] = RHO,
    ) -> None:
        super().__init__()
        self.views, self.posterior, self.variance = views, posterior, variance
        self.generator = torch.Generator().manual_seed(1)
        self.basis = torch.linalg.qr(torch.randn(PIXELS, DIM, generator=self.generator)).Q
        self.true_rho = torch.tensor(true_rho)
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(PIXELS, DIM), nn.Linear(DIM, PIXELS, bias=not true_decoder)
        self.log_var = nn.Parameter(torch.full((DIM,), -1.0))
        start = torch.tensor(1.0 if variance == "learned" else NOISE)
        self.log_noise = nn.Parameter(start.log(), requires_grad=variance == "learned")
        self.logit = nn.Parameter(torch.tensor(rho or RHO).logit(), requires_grad=rho is not None)
        if true_decoder:
            self.decoder.requires_grad_(False).weight.copy_(self.basis)

    @property
    def prior(self) -> Prior:
        return Prior(self.logit.sigmoid())

    def draw(self, groups: int) -> Tensor:
        content = self.true_rho.sqrt() * self._normal(groups, 1, DIM)
        latents = content + (1 - self.true_rho).sqrt() * self._normal(groups, self.views, DIM)
        return latents @ self.basis.T + NOISE**0.5 * self._normal(groups, self.views, PIXELS)

    def bound(self, x: Tensor) -> tuple[Elbo, Tensor]:
        """The bound of every group, and the virial ratio."""
        code = self.encoder(x)
        log_var, noise = self.log_var.expand_as(code), self._normal(len(x), self.views + 1, DIM)
        if self.posterior == "structured":
            latents = structured.sample(code, log_var, self.prior, noise)
            kl = structured.kl(code, log_var, self.prior)
        else:
            latents = code + (0.5 * log_var).exp() * noise[:, 1:]
            kl = simvae.kl_divergence(code, log_var, self.prior)
        virial = (structured if self.posterior == "structured" else simvae).virial_ratio(code, log_var, self.prior)
        return Elbo(self.log_likelihood(x, latents).mean(1), kl / self.views, 1.0), virial

    def log_likelihood(self, x: Tensor, latents: Tensor) -> Tensor:
        mean = self.decoder(latents)
        if self.variance == "optimal":
            self.log_noise.copy_(optimal_variance(x, mean).log())
        return gaussian_log_prob(x[..., None, None, :], mean[..., None, None, :], self.log_noise.exp())

    def fit(self, steps: int) -> None:
        optimiser = torch.optim.Adam(self.parameters(), lr=2e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            optimiser.zero_grad()
            (-self.bound(self.draw(512))[0].objective.mean()).backward()
            optimiser.step()
            schedule.step()

    def exact(self, x: Tensor) -> Tensor:
        """log p(x_1..x_J) of every group under the truth, shape [B]."""
        signal = (1 - self.true_rho) * torch.eye(self.views)[..., None] + self.true_rho * torch.ones(DIM)
        covariance = torch.einsum("ijk,pk,qk->ipjq", signal, self.basis, self.basis).flatten(2).flatten(0, 1)
        covariance += NOISE * torch.eye(len(covariance))
        return MultivariateNormal(torch.zeros(len(covariance)), covariance).log_prob(x.flatten(1))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def measure(problem: LinearGaussian) -> tuple[Tensor, Tensor, float]:
    """The bound of each of many fresh groups, the exact value, and the virial ratio."""
    with torch.no_grad():
        x = problem.draw(50_000)
        bound, virial = problem.bound(x)
        return bound.value * problem.views, problem.exact(x), virial.item()


def three_errors(values: Tensor) -> float:
    return 3 * values.std().item() / math.sqrt(len(values))


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 2, 4])
def test_the_encoder_reaches_the_known_optimum_under_the_true_decoder(views: int) -> None:
    best, gain, variance = optimum(views)
    problem = LinearGaussian(views, true_decoder=True)
    problem.fit(1_000)
    value, _, _ = measure(problem)
    assert value.mean().item() == pytest.approx(best, abs=three_errors(value) + 0.005)
    assert problem.log_var.exp().tolist() == pytest.approx([variance] * DIM, rel=0.05)
    gains = torch.linalg.svdvals(problem.encoder.weight.detach() @ problem.basis)
    assert gains.tolist() == pytest.approx([gain] * DIM, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 2, 4])
def test_a_learned_decoder_finds_the_subspace_and_no_bound_exceeds_the_truth(views: int) -> None:
    problem = LinearGaussian(views)
    problem.fit(1_500)
    value, exact, virial = measure(problem)
    assert optimum(views)[0] - three_errors(value) - 0.02 < value.mean() < exact.mean() + three_errors(value - exact)
    assert virial == pytest.approx(1, abs=0.02)
    cosines = torch.linalg.svdvals(torch.linalg.qr(problem.decoder.weight.detach()).Q.T @ problem.basis)
    assert cosines.min() > math.cos(math.radians(5))


@pytest.mark.slow
@pytest.mark.parametrize(("views", "variance"), [(2, "learned"), (2, "optimal"), (4, "learned")])
def test_with_a_structured_posterior_everything_learned_is_the_truth(views: int, variance: str) -> None:
    """Correlation, pixel variance and scale within 2 %, and a bound that is log p(x_1..x_J) itself."""
    problem = LinearGaussian(views, posterior="structured", variance=variance, rho=0.5)
    problem.fit(1_500)
    value, exact, virial = measure(problem)
    assert (value - exact).mean().item() == pytest.approx(0, abs=three_errors(value - exact) + 0.01)
    assert problem.prior.rho.item() == pytest.approx(RHO, rel=0.02)
    assert problem.log_noise.exp().item() == pytest.approx(NOISE, rel=0.02)
    assert torch.linalg.svdvals(problem.decoder.weight.detach()).tolist() == pytest.approx([1] * DIM, rel=0.02)
    assert virial == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_with_an_independent_posterior_the_learned_correlation_is_low_by_a_known_amount() -> None:
    """The prior is fitted to codes whose errors do not correlate: 0.793 in place of 0.87, the optimum of the bound."""
    best, rho, noise = optimum_of_everything(2)
    assert rho == pytest.approx(0.793, abs=5e-4)
    problem = LinearGaussian(2, variance="learned", rho=0.5)
    problem.fit(1_500)
    value, _, virial = measure(problem)
    assert value.mean().item() == pytest.approx(best, abs=three_errors(value) + 0.01)
    assert problem.prior.rho.item() == pytest.approx(rho, rel=0.02)
    assert problem.log_noise.exp().item() == pytest.approx(noise, rel=0.02)
    assert virial == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_every_dimension_finds_its_own_correlation() -> None:
    rho = [0.2, 0.5, 0.75, 0.95]
    problem = LinearGaussian(4, posterior="structured", rho=[0.5] * DIM, true_rho=rho)
    problem.fit(1_200)
    value, exact, _ = measure(problem)
    assert (value - exact).mean().item() == pytest.approx(0, abs=three_errors(value - exact) + 0.02)
    found, order = problem.prior.rho.detach().sort()
    assert found.tolist() == pytest.approx(rho, abs=0.02)
    axes = torch.nn.functional.normalize(problem.decoder.weight.detach()[:, order], dim=0)
    assert (axes * problem.basis).sum(0).abs().min() > 0.98


def test_no_bound_exceeds_the_truth_and_more_samples_close_on_it() -> None:
    """With the optimal encoder, in closed form for the ELBO; the gap at K = 1 is the tabulated one."""
    views = 2
    problem, (best, gain, variance) = LinearGaussian(views, true_decoder=True), optimum(views)
    x = problem.draw(1_000)
    exact = problem.exact(x)
    mu = gain * x @ problem.basis
    log_var = torch.full_like(mu, math.log(variance))
    likelihood = problem.log_likelihood(x, mu).detach().sum(1) - views * DIM * variance / (2 * NOISE)
    elbo = likelihood - simvae.kl_divergence(mu, log_var, problem.prior)
    assert (elbo < exact).all()
    assert (exact - elbo).mean().item() == pytest.approx(exact_log_probability(views) - best, rel=0.1)
    z = mu + variance**0.5 * torch.randn(512, *mu.shape, generator=problem.generator)
    weights = log_weights(problem.log_likelihood(x, z).detach(), z, mu, log_var, problem.prior)
    bounds = [importance_weighted(weights[:count]).mean().item() for count in (1, 4, 16, 64, 512)]
    assert bounds == sorted(bounds)
    assert elbo.mean().item() < bounds[1] < bounds[-1] < exact.mean().item()
    assert bounds[-1] == pytest.approx(exact.mean().item(), abs=0.05)


@pytest.mark.parametrize(
    ("views", "exact", "bound"), [(1, -5.0933, -5.0933), (2, -7.8153, -8.3428), (4, -12.128, -13.709)]
)
def test_the_closed_forms_match_worked_cases_at_unit_content_variance(views: int, exact: float, bound: float) -> None:
    assert exact_log_probability(views, 0.15, 1.0) == pytest.approx(exact, abs=5e-4)
    assert optimum(views, 0.15, 1.0)[0] == pytest.approx(bound, abs=5e-4)
