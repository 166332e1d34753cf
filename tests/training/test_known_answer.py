"""Training on linear-Gaussian data, where the optimum is known in closed form, must reach it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.likelihoods import gaussian_log_prob
from training.objectives.simvae import Elbo, Prior, elbo, virial_ratio

DIM, PIXELS, NOISE = 4, 16, 0.05
PRIOR = Prior(0.87)


def exact_log_probability(views: int, within: float = PRIOR.sigma2, between: float = PRIOR.rho) -> float:
    """E[log p(x_1..x_J)] per group: the negative entropy of a Gaussian."""
    signal = (within + NOISE) * np.eye(views) + between * np.ones((views, views))
    per_dimension = views * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(signal)[1]
    rest = views * (PIXELS - DIM) * (1 + math.log(2 * math.pi * NOISE))
    return float(-0.5 * (DIM * per_dimension + rest))


def optimum(views: int, within: float = PRIOR.sigma2, between: float = PRIOR.rho) -> tuple[float, float, float]:
    """The best bound per group of an encoder that sees one view at a time, with the true decoder; its gain a and s².

    With x_j = W z_j + e, W orthonormal, e ~ N(0, ε): μ_j = a Wᵀx_j, and all expectations are traces of J × J matrices.
    """
    total = within + between + NOISE
    identity, ones = np.eye(views), np.ones((views, views))
    precision = np.linalg.inv(within * identity + between * ones)
    trace = np.trace(precision @ ((within + NOISE) * identity + between * ones))
    gain = views * total / NOISE / (views * total / NOISE + trace)
    variance = 1 / (1 / NOISE + precision[0, 0])
    reconstruction = -views / 2 * math.log(2 * math.pi * NOISE)
    reconstruction -= views / (2 * NOISE) * ((1 - gain) ** 2 * total + variance)
    log_prior = -views / 2 * math.log(2 * math.pi) + 0.5 * np.linalg.slogdet(precision)[1]
    log_prior -= 0.5 * (gain**2 * trace + variance * np.trace(precision))
    uncertainty = views / 2 * (1 + math.log(2 * math.pi * variance))
    rest = -views / 2 * (PIXELS - DIM) * (1 + math.log(2 * math.pi * NOISE))
    return DIM * (reconstruction + log_prior + uncertainty) + rest, gain, variance


class LinearGaussian:
    """Data with known latents, and a linear model to recover them, with the true decoder or one of its own."""

    def __init__(self, views: int, *, true_decoder: bool) -> None:
        self.views = views
        self.generator = torch.Generator().manual_seed(1)
        self.basis = torch.linalg.qr(torch.randn(PIXELS, DIM, generator=self.generator)).Q
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(PIXELS, DIM), nn.Linear(DIM, PIXELS)
        if true_decoder:
            self.decoder.requires_grad_(False)
            nn.init.zeros_(self.decoder.bias)
            self.decoder.weight.copy_(self.basis)
        self.log_var = nn.Parameter(torch.full((DIM,), -1.0))

    def draw(self, groups: int) -> Tensor:
        content = PRIOR.rho**0.5 * self._normal(groups, 1, DIM)
        latents = content + PRIOR.sigma2**0.5 * self._normal(groups, self.views, DIM)
        return latents @ self.basis.T + NOISE**0.5 * self._normal(groups, self.views, PIXELS)

    def bound(self, x: Tensor) -> tuple[Elbo, Tensor, Tensor]:
        mu = self.encoder(x)
        log_var = self.log_var.expand_as(mu)
        drawn = self.decoder(mu + (0.5 * log_var).exp() * self._normal(*mu.shape))
        as_images = (*x.shape[:2], 1, 1, PIXELS)
        log_likelihood = gaussian_log_prob(x.reshape(as_images), drawn.reshape(as_images), NOISE)
        return elbo(log_likelihood, mu, log_var, PRIOR), mu, log_var

    def fit(self, steps: int) -> None:
        parameters = [*self.encoder.parameters(), *self.decoder.parameters(), self.log_var]
        optimiser = torch.optim.Adam(parameters, lr=2e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            bound, _, _ = self.bound(self.draw(512))
            optimiser.zero_grad()
            (-bound.objective.mean()).backward()
            optimiser.step()
            schedule.step()

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def measure(problem: LinearGaussian) -> tuple[float, float, Tensor, Tensor]:
    """The bound per group on fresh data, three standard errors of it, and the posteriors."""
    with torch.no_grad():
        bound, mu, log_var = problem.bound(problem.draw(50_000))
    value = bound.value * problem.views
    return value.mean().item(), 3 * value.std().item() / math.sqrt(len(value)), mu, log_var


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 2, 4])
def test_the_encoder_reaches_the_known_optimum_under_the_true_decoder(views: int) -> None:
    best, gain, variance = optimum(views)
    problem = LinearGaussian(views, true_decoder=True)
    problem.fit(1_000)
    value, tolerance, _, _ = measure(problem)
    assert value == pytest.approx(best, abs=tolerance + 0.005)
    assert problem.log_var.exp().tolist() == pytest.approx([variance] * DIM, rel=0.05)
    gains = torch.linalg.svdvals(problem.encoder.weight.detach() @ problem.basis)
    assert gains.tolist() == pytest.approx([gain] * DIM, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 2, 4])
def test_a_learned_decoder_finds_the_subspace_and_no_bound_exceeds_the_truth(views: int) -> None:
    problem = LinearGaussian(views, true_decoder=False)
    problem.fit(1_500)
    value, tolerance, mu, log_var = measure(problem)
    assert optimum(views)[0] - tolerance - 0.02 < value < exact_log_probability(views) + tolerance
    assert virial_ratio(mu, log_var, PRIOR).item() == pytest.approx(1, abs=0.02)
    cosines = torch.linalg.svdvals(torch.linalg.qr(problem.decoder.weight.detach()).Q.T @ problem.basis)
    assert math.degrees(math.acos(min(cosines.min().item(), 1.0))) < 5


@pytest.mark.parametrize(
    ("views", "exact", "bound"), [(1, -5.0933, -5.0933), (2, -7.8153, -8.3428), (4, -12.128, -13.709)]
)
def test_the_closed_forms_match_worked_cases_at_unit_content_variance(views: int, exact: float, bound: float) -> None:
    assert exact_log_probability(views, 0.15, 1.0) == pytest.approx(exact, abs=5e-4)
    assert optimum(views, 0.15, 1.0)[0] == pytest.approx(bound, abs=5e-4)
