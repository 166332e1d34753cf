"""Likelihoods are the densities they claim to be, constants included."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from training.likelihoods import bernoulli_log_prob, gaussian_log_prob


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(2, 3, 1, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_gaussian_agrees_with_torch(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, mean = images
    expected = Normal(mean, 0.3).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(gaussian_log_prob(x, mean, 0.09), expected)


def test_bernoulli_agrees_with_torch_on_binary_images(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, logits = images[0].round(), images[1] * 4 - 2
    expected = Bernoulli(logits=logits).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(bernoulli_log_prob(x, logits), expected)


def test_a_variance_that_is_not_positive_is_refused(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="must be positive, found 0"):
        gaussian_log_prob(*images, 0.0)


def test_half_precision_is_summed_in_float32() -> None:
    x = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    exact = gaussian_log_prob(x, torch.zeros_like(x), 0.01)
    found = gaussian_log_prob(x, torch.zeros_like(x).bfloat16(), 0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)
