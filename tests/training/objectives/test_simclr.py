"""NT-Xent agrees with the loop its formula describes, and knows directions only."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.objectives.simclr import nt_xent


@pytest.fixture
def projections(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 3, 4, generator=generator, dtype=torch.float64)


def loop(projections: Tensor, temperature: float) -> list[float]:
    """The formula read aloud: for each anchor, each positive against all but the anchor itself."""
    groups, views, _ = projections.shape
    everybody = [(group, view) for group in range(groups) for view in range(views)]
    losses = []
    for group in range(groups):
        total = 0.0
        for anchor in range(views):
            score = {
                other: math.exp(
                    functional.cosine_similarity(projections[group, anchor], projections[other], dim=0) / temperature
                )
                for other in everybody
                if other != (group, anchor)
            }
            positives = [score[group, view] for view in range(views) if view != anchor]
            total -= sum(math.log(each / sum(score.values())) for each in positives) / len(positives)
        losses.append(total / views)
    return losses


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_it_agrees_with_the_loop(views: int, temperature: float, projections: Tensor) -> None:
    found = nt_xent(projections[:, :views], temperature)
    assert found.tolist() == pytest.approx(loop(projections[:, :views], temperature), abs=1e-10)


def test_two_views_are_a_classification_of_the_other_view(projections: Tensor) -> None:
    """SimCLR's own reading: cross-entropy over 2B − 1 candidates, the target being the partner."""
    unit = functional.normalize(torch.cat((projections[:, 0], projections[:, 1])), dim=1)
    logits = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    target = (torch.arange(10) + 5) % 10
    expected = functional.cross_entropy(logits, target)
    torch.testing.assert_close(nt_xent(projections[:, :2], 0.5).mean(), expected)


def test_lengths_and_a_common_rotation_do_not_matter(projections: Tensor, generator: torch.Generator) -> None:
    before = nt_xent(projections, 0.2)
    lengths = torch.rand(5, 3, 1, generator=generator, dtype=torch.float64) + 0.5
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    torch.testing.assert_close(nt_xent(projections * lengths @ rotation, 0.2), before)


def test_views_and_groups_can_be_permuted_but_views_not_moved_between_groups(projections: Tensor) -> None:
    before = nt_xent(projections, 0.2)
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0, 4, 3])
    torch.testing.assert_close(nt_xent(projections[:, views], 0.2), before)
    torch.testing.assert_close(nt_xent(projections[groups], 0.2), before[groups])
    moved = torch.cat((projections[:, :1], projections[groups, 1:]), 1)
    assert not torch.allclose(nt_xent(moved, 0.2).sum(), before.sum())


def test_a_collapsed_batch_guesses_among_all_others_and_a_lone_pair_needs_no_guess() -> None:
    collapsed = torch.ones(8, 2, 4, dtype=torch.float64)
    assert nt_xent(collapsed, 0.5).tolist() == pytest.approx([math.log(15)] * 8)
    assert nt_xent(collapsed[:1], 0.5).tolist() == pytest.approx([0], abs=1e-12)


def test_gradients_agree_with_finite_differences(projections: Tensor) -> None:
    assert torch.autograd.gradcheck(lambda p: nt_xent(p, 0.5), projections.requires_grad_())


def test_autocast_does_not_lower_its_precision(projections: Tensor) -> None:
    exact = nt_xent(projections.float(), 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        found = nt_xent(projections.float(), 0.07)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0)


def test_a_dead_projection_and_a_tiny_temperature_stay_finite() -> None:
    dead = torch.zeros(3, 2, 4, requires_grad=True)
    loss = nt_xent(dead, 1e-3)
    (gradient,) = torch.autograd.grad(loss.sum(), dead)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


def test_a_single_view_and_a_temperature_of_zero_are_refused(projections: Tensor) -> None:
    with pytest.raises(ValueError, match="at least 2 views of an image, found 1"):
        nt_xent(projections[:, :1], 0.5)
    with pytest.raises(ValueError, match="must be positive, found 0"):
        nt_xent(projections, 0)
