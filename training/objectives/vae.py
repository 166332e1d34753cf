"""The VAE's divergence, per view: the baseline that does not know which views belong together.

    ELBO(x_j) = E_q[log p(x_j | z_j)] − KL(N(μ_j, diag s_j²) ‖ N(0, I))

A β-VAE weighs the KL by β. The SimVAE bound with one view, or with ρ → 0, is the same. Tensors only.

Source: Kingma & Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114, appendix B; Higgins et al., "β-VAE",
ICLR 2017.
"""

import torch
from torch import Tensor

from training.objectives.precision import at_least_float32

__all__ = ["kl_to_standard_normal"]


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """Σ_j KL(q(z_j | x_j) ‖ N(0, I)) = ½ Σ_jk (μ² + s² − 1 − log s²), in float32 at least.

    Args:
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].

    Returns:
        Nats per group, summed over views and dimensions, shape [B]; divide by J for nats per view.
    """
    mu, log_var = at_least_float32(mu), at_least_float32(log_var)
    return 0.5 * (mu.square() + torch.expm1(log_var) - log_var).sum((1, 2))
