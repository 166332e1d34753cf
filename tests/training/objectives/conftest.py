"""What the laws of the objectives share: random posteriors in float64, and the priors they are held against."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Draw = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def draw(generator: torch.Generator) -> Draw:
    """Means and log variances of groups of views, shape [groups, views, dim] each."""

    def draw(groups: int = 3, views: int = 2, dim: int = 4) -> tuple[Tensor, Tensor]:
        shape = (groups, views, dim)
        mu = torch.randn(shape, generator=generator, dtype=torch.float64)
        return mu, torch.randn(shape, generator=generator, dtype=torch.float64) - 1

    return draw
