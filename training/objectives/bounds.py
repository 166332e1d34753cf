"""Importance-weighted bounds on log p(x_1..x_J): tighter with every sample, exact in the limit.

    log p(x) ≥ E log (1/K) Σ_k w_k ≥ ELBO          w_k = p(x | z_k) p(z_k) / q(z_k | x)          z_k ~ q

K = 1 gives the ELBO, and the expectation never falls as K grows. A group is one observation: its J views share the
content, so weights are formed per group and never per view. Tensors only.

Source: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, eq. 8.
"""

import math

from torch import Tensor

from training.objectives.prior import Prior, log_prior
from training.objectives.structured import log_density_ratio

__all__ = ["importance_weighted", "log_weights", "structured_log_weights"]


def importance_weighted(log_weights: Tensor) -> Tensor:
    """log (1/K) Σ_k w_k of each group.

    Args:
        log_weights: log w, shape [K, B].

    Returns:
        Nats per group, shape [B].
    """  # noqa: D403 (log is the function)
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def log_weights(log_likelihood: Tensor, z: Tensor, mu: Tensor, log_var: Tensor, prior: Prior) -> Tensor:
    """Log weights of K draws from the posterior that encodes every view alone.

        log w = Σ_j log p(x_j | z_j) + log p(z_1..z_J) − Σ_j log N(z_j; μ_j, diag s_j²)

    Args:
        log_likelihood: log p(x_j | z_j), shape [K, B, J].
        z: The draws, shape [K, B, J, D].
        mu: Posterior means, shape [B, J, D].
        log_var: Log posterior variances, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        Nats per group, shape [K, B].
    """
    squared_error = (z - mu).square() * (-log_var).exp()
    log_posterior = -0.5 * (math.log(2 * math.pi) + log_var + squared_error).sum((-2, -1))
    return log_likelihood.sum(-1) + log_prior(z, prior) - log_posterior


def structured_log_weights(log_likelihood: Tensor, z: Tensor, message: Tensor, log_r: Tensor, prior: Prior) -> Tensor:
    """Log weights of K draws from the structured posterior, whose views are correlated.

        log w = Σ_j log p(x_j | z_j) + log p(m_1..m_J) − Σ_j log N(m_j; z_j, diag R_j)

    Args:
        log_likelihood: log p(x_j | z_j), shape [K, B, J].
        z: The draws, shape [K, B, J, D].
        message: m, shape [B, J, D].
        log_r: log R, shape [B, J, D].
        prior: The prior of the group; not flat.

    Returns:
        Nats per group, shape [K, B].
    """
    return log_likelihood.sum(-1) + log_density_ratio(z, message, log_r, prior)
