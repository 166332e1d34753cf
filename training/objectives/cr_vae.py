"""The consistency term of CR-VAE: posteriors of two views of one image should agree.

    maximised, per group:   Σ_j ELBO(x_j) − λ · consistency          (nats per view: both divided by J)

The paper pairs an image with one augmented version, x and x̃, and adds λ KL(q(z|x̃) ‖ q(z|x)) to the two ELBOs. Here
no view is the original: all J are augmented alike, so that a direction would be arbitrary, and the term is the mean
over all ordered pairs; for J = 2 half of the symmetrised divergence, whose expectation over the augmentations equals
that of either direction. Tensors only.

Source: Sinha & Dieng, "Consistency Regularization for Variational Auto-Encoders", NeurIPS 2021, arXiv 2105.14859.
"""

import torch
from torch import Tensor

from training.objectives.precision import at_least_float32

__all__ = ["consistency"]


def consistency(mu: Tensor, log_var: Tensor) -> Tensor:
    """The mean of KL(q(z | x_i) ‖ q(z | x_j)) over ordered pairs of views i ≠ j, in float32 at least.

        1/J(J−1) Σ_{i≠j} ½ Σ_k [(s²_ik + (μ_ik − μ_jk)²) / s²_jk − 1]

    The log s²_j − log s²_i of each pair is left out, since it cancels against that of the reversed pair.

    Args:
        mu: Posterior means, shape [B, J, D], J at least 2.
        log_var: Log posterior variances, shape [B, J, D].

    Returns:
        Nats, shape [B].

    Raises:
        ValueError: One view.
    """
    views = mu.shape[1]
    if views < 2:
        raise ValueError(
            f"consistency compares views of one image: expected at least 2, found {views}; raise the views"
        )
    mu, log_var = at_least_float32(mu), at_least_float32(log_var)
    log_ratio = log_var[:, :, None] - log_var[:, None]
    distance = (mu[:, :, None] - mu[:, None]).square() * (-log_var[:, None]).exp()
    return 0.5 * (torch.expm1(log_ratio) + distance).sum((1, 2, 3)) / (views * (views - 1))
