"""Likelihood ratios of pairs of views: the service's formula, and calibrated on data of the model itself."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from service.engine.results import Embeddings
from service.engine.similarity import log_likelihood_ratio as served
from training.evaluation.similarity import Views, log_likelihood_ratio, measure_similarity
from training.evaluation.verification import reliability

RHO = torch.tensor([0.5, 0.8], dtype=torch.float64)


def model_views(images: int, noise: float, *, same: bool = True, rho: Tensor = RHO) -> Views:
    """Posteriors of views of images that the model itself made: x = z + e, e ~ N(0, noise), which it knows."""
    generator = torch.Generator().manual_seed(0)
    contents = torch.randn(images, 1 if same else 2, len(rho), generator=generator, dtype=torch.float64)
    offsets, errors = (torch.randn(images, 2, len(rho), generator=generator, dtype=torch.float64) for _ in range(2))
    observed = rho.sqrt() * contents + (1 - rho).sqrt() * offsets + noise**0.5 * errors
    log_var = torch.full_like(observed, noise / (1 + noise)).log()
    return Views(observed / (1 + noise), log_var)


def ratios(views: Views, rho: Tensor = RHO) -> Tensor:
    assert views.log_var is not None
    mean, variance = views.mean, views.log_var.exp()
    return log_likelihood_ratio(mean[:, 0], variance[:, 0], mean[:, 1], variance[:, 1], rho)


@pytest.mark.parametrize("rho", [torch.tensor(0.87), torch.tensor([0.2, 0.9, 0.999])])
def test_the_ratio_is_the_one_that_the_service_gives(rho: Tensor) -> None:
    random = np.random.default_rng(0)
    means, variances = random.normal(size=(2, 20, 3)), random.uniform(0, 1.3, (2, 20, 3))
    sides = [Embeddings(mean, variance) for mean, variance in zip(means, variances, strict=True)]
    rho = rho.double()
    expected = served(*sides, (1 - rho).numpy(), rho.numpy(), pairs=True)
    arrays = [torch.from_numpy(array) for array in (means[0], variances[0], means[1], variances[1])]
    assert log_likelihood_ratio(*arrays, rho).numpy() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_expected_likelihood_ratio_of_different_pairs_is_one(noise: float) -> None:
    odds = ratios(model_views(400_000, noise, same=False)).exp()
    assert odds.mean().item() == pytest.approx(1, abs=4 * odds.std().item() / 400_000**0.5)
    against = (-ratios(model_views(400_000, 0.3 + noise))).exp()
    assert against.mean().item() == pytest.approx(1, abs=0.02)


def test_the_probabilities_of_model_data_are_the_shares_that_come_true() -> None:
    same, different = (ratios(model_views(200_000, 0.3, same=same)).numpy() for same in (True, False))
    assert max(abs(part.predicted - part.observed) for part in reliability(same, different)) < 0.01


def test_model_data_need_no_calibration_and_overconfident_posteriors_do() -> None:
    views = model_views(4_000, 0.5)
    assert views.log_var is not None
    found = measure_similarity(views, RHO, seed=0)
    assert found is not None
    assert found.pairs == 8_000
    assert found.slope == pytest.approx(1, abs=0.1)
    assert found.intercept == pytest.approx(0, abs=0.1)
    assert found.cllr == pytest.approx(found.cllr_calibrated, abs=0.01)
    assert found.cllr_min < found.cllr
    assert found.eer < found.cosine_eer
    points = measure_similarity(dataclasses.replace(views, log_var=views.log_var - 20), RHO, seed=0)
    assert points is not None
    assert points.slope < 0.9
    assert points.cllr > points.cllr_calibrated + 0.01


def test_points_and_flat_priors_are_compared_by_angle_only() -> None:
    views = model_views(500, 0.1)
    for found in (measure_similarity(Views(views.mean, None), RHO, 0), measure_similarity(views, None, 0)):
        assert found is not None
        assert found.score == "cosine"
        assert (found.eer, found.auc) == (found.cosine_eer, found.cosine_auc)
        assert found.auc > 0.6
        assert found.cllr is found.reliability is found.slope is None
    assert measure_similarity(model_views(3, 0.1), RHO, 0) is None


def test_a_blind_encoder_tells_nothing_apart() -> None:
    blind = Views(torch.zeros(40, 2, 2), torch.zeros(40, 2, 2))
    found = measure_similarity(blind, RHO, 0)
    assert found is not None
    assert (found.eer, found.auc) == (0.5, 0.5)
    assert found.cllr == pytest.approx(1)
