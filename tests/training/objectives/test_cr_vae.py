"""The consistency term is the mean of torch's pairwise divergences, and its invariances are theirs."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from training.objectives.cr_vae import consistency

Draw = Callable[..., tuple[Tensor, Tensor]]


@pytest.mark.parametrize("views", [2, 3, 5])
def test_consistency_agrees_with_a_loop_over_ordered_pairs(views: int, draw: Draw) -> None:
    mu, log_var = draw(views=views)
    pairs = list(itertools.permutations(range(views), 2))
    expected = torch.zeros(3, dtype=torch.float64)
    for first, second in pairs:
        q, p = (Normal(mu[:, j], (0.5 * log_var[:, j]).exp()) for j in (first, second))
        expected += kl_divergence(q, p).sum(1) / len(pairs)
    torch.testing.assert_close(consistency(mu, log_var), expected, rtol=0, atol=1e-10)


def test_the_mean_over_augmentations_is_that_of_the_papers_one_direction(draw: Draw) -> None:
    """Views are exchangeable, so on average KL(q₂ ‖ q₁), which the paper penalises, is half the symmetric sum."""
    mu, log_var = (value.repeat(2, 1, 1) for value in draw())
    mu[3:], log_var[3:] = mu[3:].flip(1), log_var[3:].flip(1)  # each pair of views, in both orders
    scale = (0.5 * log_var).exp()
    one_way = kl_divergence(Normal(mu[:, 1], scale[:, 1]), Normal(mu[:, 0], scale[:, 0])).sum(1)
    torch.testing.assert_close(consistency(mu, log_var).mean(), one_way.mean())


def test_views_and_groups_can_be_permuted_and_agreement_costs_nothing(draw: Draw) -> None:
    mu, log_var = draw(views=3)
    before = consistency(mu, log_var)
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(consistency(mu[:, views], log_var[:, views]), before)
    torch.testing.assert_close(consistency(mu[groups], log_var[groups]), before[groups])
    same = [value[:, :1].expand(-1, 3, -1) for value in (mu, log_var)]
    assert consistency(*same).tolist() == [0, 0, 0]
    assert (before > 0).all()
    moved = mu[torch.tensor([0, 2, 1])]
    assert not torch.allclose(consistency(torch.cat((mu[:, :1], moved[:, 1:]), 1), log_var).sum(), before.sum())


def test_units_of_the_latents_do_not_matter(draw: Draw) -> None:
    """A divergence is the same in any coordinates: z → cz + b changes nothing."""
    mu, log_var = draw()
    scale = torch.tensor([0.1, 2.0, 3.0, 10.0], dtype=torch.float64)
    stretched = consistency(scale * mu + 5, log_var + 2 * scale.log())
    torch.testing.assert_close(stretched, consistency(mu, log_var))


def test_gradients_agree_with_finite_differences(draw: Draw) -> None:
    inputs = tuple(value.requires_grad_() for value in draw(groups=2, views=3, dim=2))
    assert torch.autograd.gradcheck(consistency, inputs)


def test_half_precision_is_computed_in_float32_and_extremes_stay_finite() -> None:
    mu = torch.zeros(1, 2, 8).bfloat16()
    log_var = torch.tensor([-20.0, 10.0])[None, :, None].expand(1, 2, 8)
    found = consistency(mu, log_var)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_one_view_has_nothing_to_agree_with(draw: Draw) -> None:
    with pytest.raises(ValueError, match="expected at least 2, found 1"):
        consistency(*draw(views=1))
