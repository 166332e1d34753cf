"""SimCLR's contrast: find the other views of the same image among all views of the batch.

For an anchor a with positives P(a), the other J − 1 views of its image, and cosine similarity s,

    NT-Xent(a) = −1/|P(a)| Σ_{p ∈ P(a)} log [ exp(s_ap / T) / Σ_{b ≠ a} exp(s_ab / T) ]

With J = 2 this is SimCLR's loss; for more views the average over positives stands outside the logarithm, as in
SupCon's L_out. Tensors only.

Source: Chen et al., "A Simple Framework for Contrastive Learning", arXiv 2002.05709, eq. 1; Khosla et al.,
"Supervised Contrastive Learning", arXiv 2004.11362, eq. 2.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.objectives.precision import at_least_float32

__all__ = ["nt_xent"]


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross-entropy of each group, averaged over its views.

    Computed in float32 at least, autocast or not. With several processes pass the projections of all
    (`training.distributed.gather`), since the negatives are the whole batch.

    Args:
        projections: Outputs of the projection head, of any length, shape [B, J, P], J at least 2.
        temperature: T > 0.

    Returns:
        Nats, at least 0, shape [B].

    Raises:
        ValueError: One view, or a temperature that is not positive.
    """
    groups, views, _ = projections.shape
    if views < 2:
        raise ValueError(f"a contrast needs at least 2 views of an image, found {views}; raise the views")
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, found {temperature}")
    with torch.autocast(projections.device.type, enabled=False):
        unit = functional.normalize(at_least_float32(projections), dim=-1)
        flat = unit.flatten(0, 1)
        is_self = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
        similarity = (flat @ flat.T / temperature).masked_fill(is_self, -torch.inf)
        everybody = similarity.logsumexp(1).reshape(groups, views)
        others = (unit.sum(1, keepdim=True) - unit) / (views - 1)
        return (everybody - (unit * others).sum(-1) / temperature).mean(1)
