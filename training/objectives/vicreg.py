"""VICReg: views agree (invariance), no dimension dies (variance), no two say the same (covariance).

Of each view's n × P projections Z, centred for C = ZᵀZ / (n − 1), and averaged over the pairs of views {i, j}:

    invariance  s = mean over groups and dimensions of (Z_i − Z_j)²
    variance    v = mean over the two views and dimensions of max(0, 1 − √(Var + ε)),   ε = 1e-4
    covariance  c = sum over the two views of (1/P) Σ_{k≠l} C_kl²

    loss = 25 s + 25 v + 1 c     at the paper's weights

For two views this is what the authors run: the paper's equations leave a factor P in s and 2 in v to the weights.
These are statistics of a batch, hence scalars; with several processes, pass the projections of all
(`training.distributed.gather`). Tensors only.

Source: Bardes, Ponce & LeCun, "VICReg", ICLR 2022, arXiv 2105.04906, eqs. 1–6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
        projections: Outputs of the projection head, shape [B, J, P], B and J at least 2.
        invariance: Weight of s.
        variance: Weight of v.
        covariance: Weight of c.

    Raises:
        ValueError: One view, or one group.
    """
    with torch.autocast(projections.device.type, enabled=False):
        z = at_least_float32(projections)
        groups, views, dim = z.shape
        if groups < 2 or views < 2:
            raise ValueError(f"VICReg needs at least 2 groups of 2 views, found {groups} of {views}; raise them")
        difference = 2 * z.var(1).mean()  # the mean squared difference of two draws is twice their variance
        shortfall = functional.relu(1 - (z.var(0) + _EPSILON).sqrt()).mean()
        centred = z - z.mean(0)
        covariances = torch.einsum("njk,njl->jkl", centred, centred) / (groups - 1)
        is_variance = torch.eye(dim, dtype=torch.bool, device=z.device)
        redundancy = 2 * covariances.masked_fill(is_variance, 0).square().sum((1, 2)).mean() / dim
    loss = invariance * difference + variance * shortfall + covariance * redundancy
    return VicReg(difference, shortfall, redundancy, loss)
