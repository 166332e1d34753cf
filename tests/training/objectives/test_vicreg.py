"""VICReg agrees with the two-view loss of its paper read aloud, and each term does its own job."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from training.objectives.vicreg import vicreg


@pytest.fixture
def projections(generator: torch.Generator) -> Tensor:
    return 0.8 * torch.randn(6, 3, 4, generator=generator, dtype=torch.float64)


def two_views(first: Tensor, second: Tensor) -> np.ndarray:
    """Invariance, variance and covariance of two views, element by element."""
    groups, dim = first.shape
    invariance = sum((first[i, k] - second[i, k]).item() ** 2 for i in range(groups) for k in range(dim))
    variance = covariance = 0.0
    for z in (first.numpy(), second.numpy()):
        for k in range(dim):
            variance += max(0.0, 1 - np.sqrt(z[:, k].var(ddof=1) + 1e-4)) / dim / 2
        matrix = np.cov(z, rowvar=False)
        covariance += sum(matrix[k, m] ** 2 for k, m in itertools.permutations(range(dim), 2)) / dim
    return np.array([invariance / groups / dim, variance, covariance])


@pytest.mark.parametrize("views", [2, 3])
def test_it_agrees_with_the_mean_over_pairs_of_views(views: int, projections: Tensor) -> None:
    pairs = list(itertools.combinations(range(views), 2))
    expected = sum(two_views(projections[:, i], projections[:, j]) for i, j in pairs) / len(pairs)
    found = vicreg(projections[:, :views], 25, 15, 2)
    terms = [found.invariance.item(), found.variance.item(), found.covariance.item()]
    assert terms == pytest.approx(expected, abs=1e-10)
    assert found.loss.item() == pytest.approx(np.dot([25, 15, 2], expected), abs=1e-10)


def test_views_and_groups_can_be_permuted_but_views_not_moved_between_groups(projections: Tensor) -> None:
    before = vicreg(projections)
    views, groups = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0, 5, 4, 3])
    torch.testing.assert_close(vicreg(projections[:, views]).loss, before.loss)
    torch.testing.assert_close(vicreg(projections[groups]).loss, before.loss)
    moved = vicreg(torch.cat((projections[:, :1], projections[groups, 1:]), 1))
    torch.testing.assert_close(moved.covariance, before.covariance)  # statistics of each view alone
    assert moved.invariance > before.invariance


def test_a_common_shift_does_not_matter_and_scale_does(projections: Tensor) -> None:
    before, shifted = vicreg(projections), vicreg(projections + 3)
    torch.testing.assert_close(shifted.loss, before.loss)
    doubled = vicreg(2 * projections)
    torch.testing.assert_close(doubled.invariance, 4 * before.invariance)
    torch.testing.assert_close(doubled.covariance, 16 * before.covariance)


def test_a_rotation_keeps_the_invariance_and_not_the_covariance(
    projections: Tensor, generator: torch.Generator
) -> None:
    """Unlike NT-Xent, the loss prefers uncorrelated axes."""
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    before, rotated = vicreg(projections), vicreg(projections @ rotation)
    torch.testing.assert_close(rotated.invariance, before.invariance)
    assert not torch.allclose(rotated.covariance, before.covariance)


def test_a_collapse_costs_variance_and_a_copied_dimension_covariance(projections: Tensor) -> None:
    collapsed = vicreg(torch.zeros_like(projections))
    assert (collapsed.invariance.item(), collapsed.covariance.item()) == (0, 0)
    assert collapsed.variance.item() == pytest.approx(0.99)
    copied = vicreg(projections[..., :1].expand(-1, -1, 4))
    assert copied.covariance > 3 * vicreg(projections).covariance


def test_gradients_agree_with_finite_differences(projections: Tensor) -> None:
    assert torch.autograd.gradcheck(lambda p: vicreg(p).loss, projections.requires_grad_())


def test_autocast_does_not_lower_its_precision(projections: Tensor) -> None:
    exact = vicreg(projections.float()).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = vicreg(projections.float()).loss
    torch.testing.assert_close(found, exact, rtol=0, atol=0)


@pytest.mark.parametrize(("groups", "views"), [(1, 2), (2, 1)])
def test_fewer_than_two_groups_or_views_are_refused(groups: int, views: int, projections: Tensor) -> None:
    with pytest.raises(ValueError, match=f"found {groups} of {views}"):
        vicreg(projections[:groups, :views])
