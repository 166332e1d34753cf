"""The structured posterior of SimVAE: what each view says alone, combined by Bayes' rule with what the others say.

The encoder's output for view j is read as a Gaussian likelihood of its latent, a message N(m_j; z_j, diag R_j). With
the prior of the group the posterior is again Gaussian, and correlates the views as it should; per dimension,

    q(y, z_1..z_J) ∝ N(y; 0, τ²) Π_j N(z_j; y, σ²) N(m_j; z_j, R_j)

    w_j = 1 / (σ² + R_j)                          g_j = σ² w_j, how far a view follows its own message
    y ~ N(V Σ_j w_j m_j, V)                       1/V = 1/τ² + Σ_j w_j
    z_j | y ~ N(y + g_j (m_j − y), σ² (1 − g_j))

In a linear-Gaussian model the bound with this posterior is exact, where encoding each view alone leaves a gap that
grows with J. A single image is the case J = 1. All functions take the messages m and log R, of shape [B, J, D], and a
Gaussian prior (ValueError for a flat one), compute in float32 at least, and cost O(JD). Tensors only.

Source: Johnson et al., "Composing Graphical Models with Neural Networks", arXiv 1603.06277, §4.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.objectives.precision import at_least_float32
from training.objectives.prior import Prior

__all__ = ["content", "kl", "log_density_ratio", "log_evidence", "marginals", "sample", "single", "virial_ratio"]


def content(message: Tensor, log_r: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """The posterior of the content y given all views.

    Returns:
        Mean and variance, shape [B, D] each.
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    weight = _gain(log_r, rho) / (1 - rho)
    variance = rho / (1 + rho * weight.sum(1))
    return variance * (weight * message).sum(1), variance


def marginals(message: Tensor, log_r: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """The posterior of each z_j given all views, with y integrated out.

    Returns:
        Mean and log variance, shape [B, J, D] each.
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    mean, variance = (value[:, None] for value in content(message, log_r, prior))
    log_rest = _log_rest(log_r, rho)
    log_var = log_rest + (1 - rho + log_rest.exp() * variance).log()
    return mean + _gain(log_r, rho) * (message - mean), log_var


def single(message: Tensor, log_r: Tensor) -> tuple[Tensor, Tensor]:
    """The posterior of one image on its own, which in the gauge σ² + τ² = 1 does not depend on ρ.

        mean = m / (1 + R)          s² = R / (1 + R)

    Args:
        message: m, shape [..., D].
        log_r: log R, shape [..., D].

    Returns:
        Mean and log variance, shape [..., D] each.
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    return message * torch.sigmoid(-log_r), functional.logsigmoid(log_r)


def sample(message: Tensor, log_r: Tensor, prior: Prior, noise: Tensor) -> Tensor:
    """Draws y, then each z_j given y, reparameterised so that gradients reach the messages and ρ.

    Args:
        message: m, shape [B, J, D].
        log_r: log R, shape [B, J, D].
        prior: The prior of the group.
        noise: Standard normal, shape [..., B, J + 1, D]; the first row draws the content.

    Returns:
        z, shape [..., B, J, D].
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    mean, variance = (value[:, None] for value in content(message, log_r, prior))
    drawn = mean + variance.sqrt() * noise[..., :1, :]
    spread = ((1 - rho) * _log_rest(log_r, rho).exp()).sqrt()
    return drawn + _gain(log_r, rho) * (message - drawn) + spread * noise[..., 1:, :]


def kl(message: Tensor, log_r: Tensor, prior: Prior) -> Tensor:
    """KL(q(z_1..z_J) ‖ p(z_1..z_J)), closed form.

    Since q(y | z) = p(y | z), it equals the divergence of the pair (y, z), which the chain rule splits into terms that
    are never negative:

        KL(q(y) ‖ p(y)) = ½ [(V + E[y]²)/τ² − 1 − log(V/τ²)]
        E_y KL(q(z_j | y) ‖ p(z_j | y)) = ½ [g_j w_j ((m_j − E[y])² + V) − g_j − log(1 − g_j)]

    Returns:
        Nats per group, summed over views and dimensions, shape [B].
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    mean, variance = content(message, log_r, prior)
    share = variance / rho
    of_content = share + mean.square() / rho - 1 - share.log()
    gain = _gain(log_r, rho)
    distance = (message - mean[:, None]).square() + variance[:, None]
    of_views = gain.square() / (1 - rho) * distance - gain - _log_rest(log_r, rho)
    return 0.5 * (of_content.sum(-1) + of_views.sum((1, 2)))


def virial_ratio(message: Tensor, log_r: Tensor, prior: Prior) -> Tensor:
    """E_q[S/σ² + J‖z̄‖²/λ] / JD over the batch, as `simvae.virial_ratio`, with the correlations between views.

    The energy of z alone is that of the pair, Σ_j (z_j − y)²/σ² + y²/τ², less the 1 per dimension that y adds.

    Returns:
        A scalar; 1 when the scale of the latents has converged.
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    mean, variance = content(message, log_r, prior)
    distance = (message - mean[:, None]).square() + variance[:, None]
    gain = _gain(log_r, rho)
    of_views = _log_rest(log_r, rho).exp() + gain.square() / (1 - rho) * distance
    energy = of_views.sum(1) + (mean.square() + variance) / rho - 1
    return energy.mean() / message.shape[1]


def log_evidence(message: Tensor, log_r: Tensor, prior: Prior) -> Tensor:
    """log p(m_1..m_J) = Σ_k log N(m_k; 0, diag(σ² + R_k) + τ² 11ᵀ), by Sherman–Morrison.

    Returns:
        Nats per group, shape [B].
    """  # noqa: D403 (log is the function)
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = _correlations(message, prior)
    mean, variance = content(message, log_r, prior)
    log_total = torch.logaddexp(torch.log1p(-rho), log_r)
    distance = (message - mean[:, None]).square() * (-log_total).exp()
    of_views = math.log(2 * math.pi) + log_total + distance
    of_content = mean.square() / rho - (variance / rho).log()
    return -0.5 * (of_views.sum((1, 2)) + of_content.sum(-1))


def log_density_ratio(z: Tensor, message: Tensor, log_r: Tensor, prior: Prior) -> Tensor:
    """log p(z_1..z_J) − log q(z_1..z_J), at points.

    By Bayes' rule q(z) = p(z) Π_j N(m_j; z_j, R_j) / p(m), hence the ratio is log p(m) − Σ_j log N(m_j; z_j, R_j):
    neither density need be evaluated.

    Args:
        z: Latents, shape [..., B, J, D].
        message: m, shape [B, J, D].
        log_r: log R, shape [B, J, D].
        prior: The prior of the group.

    Returns:
        Nats per group, shape [..., B].
    """  # noqa: D403
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    squared_error = (message - z).square() * (-log_r).exp()
    log_messages = -0.5 * (math.log(2 * math.pi) + log_r + squared_error).sum((-2, -1))
    return log_evidence(message, log_r, prior) - log_messages


def _correlations(message: Tensor, prior: Prior) -> Tensor:
    if prior.flat:
        raise ValueError("a structured posterior needs the Gaussian prior, found a flat one; set flat = false")
    return prior.correlations(message)


def _gain(log_r: Tensor, rho: Tensor) -> Tensor:
    """The gain g = σ² / (σ² + R), shape [B, J, D]."""
    return torch.sigmoid(torch.log1p(-rho) - log_r)


def _log_rest(log_r: Tensor, rho: Tensor) -> Tensor:
    """log(1 − g), which keeps its digits where g is nearly 0 or 1; shape [B, J, D]."""
    return functional.logsigmoid(log_r - torch.log1p(-rho))
