"""VICReg: views agree (invariance), no dimension dies (variance), no two say the same (covariance).

For views Z_1..Z_J, each n × P with columns centred where C is concerned,

    invariance  s = mean over pairs i ≠ j, groups and dimensions of (Z_i − Z_j)²
    variance    v = mean over views and dimensions of max(0, 1 − √(Var + ε)),   ε = 1e-4
    covariance  c = mean over views of (1/P) Σ_{k≠l} C_kl²,                     C = ZᵀZ / (n − 1)

    loss = 25 s + 25 v + 1 c     at the paper's weights

The authors' code, too, averages s over dimensions and v over the two views, but adds c over both: a weight of 2 on
the average is their weight of 1. These are statistics of a batch, hence scalars; with several processes, of the
batches of all. Tensors only.

Source: Bardes, Ponce & LeCun, "VICReg", ICLR 2022, arXiv 2105.04906, eqs. 1–6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.distributed import gather
from training.objectives.precision import at_least_float32

__all__ = ["VicReg", "vicreg"]

_EPSILON = 1e-4


@dataclass  # not frozen: Fabric rebuilds what a module's forward returns
class VicReg:
    """The loss and its three terms before weighting; scalars.

    Attributes:
        invariance: s, the mean squared difference of two views.
        variance: v in [0, 1], the mean shortfall of the standard deviations from 1.
        covariance: c, the squared covariances of different dimensions.
        loss: Their weighted sum, minimised.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor
    loss: Tensor


def vicreg(projections: Tensor, invariance: float = 25, variance: float = 25, covariance: float = 1) -> VicReg:
    """The VICReg loss of a batch, in float32 at least, autocast or not.

    Args:
        projections: Outputs of the projection head, shape [B, J, P]; J at least 2, B over all processes at least 2.
        invariance: Weight of s.
        variance: Weight of v.
        covariance: Weight of c.

    Raises:
        ValueError: One view, or one group.
    """
    with torch.autocast(projections.device.type, enabled=False):
        z = gather(at_least_float32(projections))
        groups, views, dim = z.shape
        if groups < 2 or views < 2:
            raise ValueError(f"VICReg needs at least 2 groups of 2 views, found {groups} of {views}; raise them")
        difference = 2 * z.var(1).mean()  # the mean squared difference of two draws is twice their variance
        shortfall = functional.relu(1 - (z.var(0) + _EPSILON).sqrt()).mean()
        centred = z - z.mean(0)
        covariances = torch.einsum("njk,njl->jkl", centred, centred) / (groups - 1)
        redundancy = covariances.masked_fill(torch.eye(dim, dtype=torch.bool, device=z.device), 0).square().sum()
        redundancy = redundancy / (views * dim)
    loss = invariance * difference + variance * shortfall + covariance * redundancy
    return VicReg(difference, shortfall, redundancy, loss)
