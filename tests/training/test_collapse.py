"""Spectra that are known, and alarms that ring on a collapse made on purpose and on nothing healthy."""

import math
import re

import pytest
import torch
from torch import Tensor

from training.collapse import active_units, alarms, kl_per_dimension, lidar, rank_me, uninformed_kl
from training.objectives.prior import Prior
from training.objectives.simvae import kl_divergence

HEALTHY = {
    "active_units": 31.0, "latent_dim": 32.0, "rank_me": 27.0, "kl": 73.0, "kl_floor": 11.3, "squared_error": 0.006,
    "mean_image_squared_error": 0.087, "virial_ratio": 1.01, "embedding_std": 0.4,
}  # fmt: skip


def with_spectrum(values: list[float], rows: int = 64) -> Tensor:
    """A matrix of given singular values."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(rows, len(values), generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)).Q
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right


@pytest.mark.parametrize(
    ("values", "rank"), [([1, 1, 1, 1], 4), ([5, 0, 0, 0], 1), ([3, 3, 0], 2), ([2, 1, 1], 2 * math.sqrt(2))]
)
def test_rank_me_of_known_spectra(values: list[float], rank: float) -> None:
    assert rank_me(with_spectrum(values)) == pytest.approx(rank, rel=1e-4)
    assert rank_me(100 * with_spectrum(values)) == pytest.approx(rank, rel=1e-4)


def test_lidar_counts_the_directions_in_which_images_differ_more_than_their_views() -> None:
    generator = torch.Generator().manual_seed(0)
    contents = torch.randn(4_000, 1, 5, generator=generator, dtype=torch.float64)
    offsets = torch.randn(4_000, 6, 5, generator=generator, dtype=torch.float64)
    alike = 10 * contents + offsets
    assert lidar(alike) == pytest.approx(5, rel=0.01)
    assert lidar(alike * torch.tensor([1, 20, 0.3, 5, 1])) == pytest.approx(5, rel=0.02)  # in units of the views
    few = torch.tensor([10, 10, 1e-3, 1e-3, 1e-3]) * contents + 1e-3 * offsets
    assert lidar(few) == pytest.approx(2, rel=0.01)


def test_active_units_are_those_whose_mean_varies() -> None:
    means = torch.tensor([[0.0, 5.0, 1.0], [0.19, 5.0, -1.0]])
    assert active_units(means) == 1
    assert active_units(means * 2) == 2


def test_the_kl_of_dimensions_sums_to_that_of_the_posterior() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_var = (torch.randn(50, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    normal = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).mean(0)
    assert kl_per_dimension(mean, log_var).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("views", [1, 2, 5])
def test_the_least_kl_of_a_blind_posterior_is_found_by_descent(views: int) -> None:
    rho = torch.tensor([0.3, 0.87], dtype=torch.float64)
    log_var = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_var], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        blind = log_var.expand(1, views, 2)
        loss = kl_divergence(torch.zeros_like(blind), blind, Prior(rho)).sum() / views
        loss.backward()
        return loss

    least = optimiser.step(closure)
    assert uninformed_kl(rho, views).item() == pytest.approx(closure().item(), abs=1e-8)
    assert least >= uninformed_kl(rho, views) - 1e-12


def test_a_healthy_model_rings_no_alarm_under_either_name() -> None:
    assert alarms(HEALTHY) == []
    assert alarms({f"held_out_{name}": value for name, value in HEALTHY.items()}) == []
    assert alarms({}) == []
    assert alarms(dict.fromkeys(HEALTHY, None)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"active_units": 1.0}, "Only 1 of 32 latent dimensions varies"),
        ({"active_units": 0.0}, "Only 0 of 32 latent dimensions vary"),
        ({"active_units": 5.0, "latent_dim": 128.0}, "Only 5 of 128"),
        ({"rank_me": 1.01}, r"effective rank \(RankMe\) of 1.01"),
        ({"kl": 11.31}, "The posterior is the prior"),
        ({"kl": 0.001, "kl_floor": None}, "The posterior is the prior"),
        ({"squared_error": 0.087}, "no better than the mean image"),
        ({"virial_ratio": 12.0}, "virial ratio is 12"),
        ({"virial_ratio": 0.05}, "virial ratio is 0.05"),
        ({"embedding_std": 1e-5}, "nearly the same embedding"),
        ({"kl": math.nan}, "Not finite: kl"),
        ({"elbo": -math.inf}, "Not finite: elbo"),
    ],
)
def test_each_collapse_rings_its_alarm_and_no_other(change: dict[str, float | None], words: str) -> None:
    found = alarms({**HEALTHY, **change})
    assert len(found) == 1
    assert re.search(words, found[0])
    assert "try" in found[0]


def test_one_latent_dimension_in_use_of_one_is_no_collapse() -> None:
    assert alarms({"active_units": 1.0, "latent_dim": 1.0, "rank_me": 1.0}) == []


def test_no_epoch_of_a_run_that_learned_rings() -> None:
    """Figures of the first, worst epochs of the shipped model's run, which warmed up for four and a half of them."""
    for virial, kl, error, units in ((2.84, 51.7, 0.031, 32), (2.16, 66.5, 0.0198, 32), (0.912, 70.1, 0.0127, 29)):
        figures = {**HEALTHY, "virial_ratio": virial, "kl": kl, "squared_error": error, "active_units": float(units)}
        assert alarms(figures) == []
