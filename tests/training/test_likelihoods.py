"""Likelihoods are the densities they claim to be, constants included."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from training.likelihoods import bernoulli_log_prob, gaussian_log_prob, optimal_variance


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(2, 3, 1, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_gaussian_agrees_with_torch(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, mean = images
    expected = Normal(mean, 0.3).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(gaussian_log_prob(x, mean, 0.09), expected)
    torch.testing.assert_close(gaussian_log_prob(x, mean, torch.tensor(0.09, dtype=torch.float64)), expected)


def test_gradients_agree_with_finite_differences_in_the_log_variance_too(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, mean = (image[:1, :1].requires_grad_() for image in images)
    log_variance = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

    def log_prob(x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        return gaussian_log_prob(x, mean, log_variance.exp())

    assert torch.autograd.gradcheck(log_prob, (x, mean, log_variance))


def test_no_variance_is_likelier_than_the_optimal_one(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, mean = images
    best = optimal_variance(x, mean)
    log_variance = best.log().requires_grad_()
    log_prob = gaussian_log_prob(x, mean, log_variance.exp()).mean()
    (slope,) = torch.autograd.grad(log_prob, log_variance)
    assert slope.item() == pytest.approx(0, abs=1e-12)
    for factor in (0.5, 0.9, 1.1, 2):
        assert gaussian_log_prob(x, mean, best * factor).mean() < log_prob


def test_the_optimal_variance_trains_on_the_logarithm_of_the_squared_error(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, mean = images
    mean.requires_grad_()
    found = -gaussian_log_prob(x, mean, optimal_variance(x, mean)).mean()
    expected = 20 / 2 * (x - mean).square().mean().log()  # D = 20 pixels
    (found_gradient,) = torch.autograd.grad(found, mean)
    (expected_gradient,) = torch.autograd.grad(expected, mean)
    torch.testing.assert_close(found_gradient, expected_gradient)


def test_a_perfect_reconstruction_is_known_no_better_than_eight_bits_say() -> None:
    x = torch.rand(2, 1, 4, 5)
    found = optimal_variance(x, x)
    rounding = (torch.linspace(0, 1, 100_001) * 255).round() / 255 - torch.linspace(0, 1, 100_001)
    assert found.item() == pytest.approx(rounding.square().mean().item(), rel=0.01)
    assert not found.requires_grad


def test_bernoulli_agrees_with_torch_on_binary_images(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, logits = images[0].round(), images[1] * 4 - 2
    expected = Bernoulli(logits=logits).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(bernoulli_log_prob(x, logits), expected)


def test_a_variance_that_is_not_positive_is_refused(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="must be positive, found 0"):
        gaussian_log_prob(*images, 0.0)
    with pytest.raises(ValueError, match="must be positive, found nan"):
        gaussian_log_prob(*images, float("nan"))


def test_half_precision_is_summed_in_float32() -> None:
    x = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    exact = gaussian_log_prob(x, torch.zeros_like(x), 0.01)
    found = gaussian_log_prob(x, torch.zeros_like(x).bfloat16(), 0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)
