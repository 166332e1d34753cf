"""The VAE's divergence is that of torch's normals, and the SimVAE's with one view."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference

from training.objectives.vae import kl_to_standard_normal

Draw = Callable[..., tuple[Tensor, Tensor]]


def test_kl_agrees_with_torch_summed_over_views_and_dimensions(draw: Draw) -> None:
    mu, log_var = draw()
    expected = reference(Normal(mu, (0.5 * log_var).exp()), Normal(torch.zeros_like(mu), 1)).sum((1, 2))
    torch.testing.assert_close(kl_to_standard_normal(mu, log_var), expected, rtol=0, atol=1e-10)


def test_kl_is_zero_only_at_the_prior(draw: Draw) -> None:
    nothing = torch.zeros(1, 2, 4, dtype=torch.float64)
    assert kl_to_standard_normal(nothing, nothing).item() == 0
    assert (kl_to_standard_normal(*draw()) > 0).all()


def test_moving_a_view_to_another_group_moves_its_share_and_nothing_else(draw: Draw) -> None:
    """Negative control: unlike SimVAE's, the total cannot tell which views belong together."""
    mu, log_var = draw()
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = [value.flatten(0, 1)[shuffled].reshape(value.shape) for value in (mu, log_var)]
    torch.testing.assert_close(kl_to_standard_normal(*moved).sum(), kl_to_standard_normal(mu, log_var).sum())


def test_half_precision_is_computed_in_float32() -> None:
    mu = torch.full((1, 2, 512), 0.1).bfloat16()
    found = kl_to_standard_normal(mu, torch.zeros_like(mu))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (0.5 * mu.float().square()).sum((1, 2)))
