"""The structured posterior of SimVAE: what each view says alone, combined by Bayes' rule with what the others say.

The encoder's output for view j is read as a Gaussian likelihood of its latent, a message N(m_j; z_j, diag R_j). With
the prior of the group the posterior is again Gaussian, and correlates the views as it should:

    q(y, z_1..z_J) ∝ N(y; 0, τ²) Π_j N(z_j; y, σ²) N(m_j; z_j, R_j)                          per dimension

    w_j = 1 / (σ² + R_j)          P = 1/τ² + Σ_j w_j          E[y] = P⁻¹ Σ_j w_j m_j          Var[y] = 1/P
    z_j | y ~ N(y + g_j (m_j − y), σ²(1 − g_j))               g_j = σ² w_j

In a linear-Gaussian model the bound with this posterior is exact, where encoding each view alone leaves a gap that
grows with J. A single image is the case J = 1. Tensors only; everything costs O(JD).

Source: Johnson et al., "Composing Graphical Models with Neural Networks", arXiv 1603.06277, §4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.objectives.precision import at_least_float32
from training.objectives.prior import Prior

__all__ = ["StructuredPosterior", "combine", "kl_divergence", "log_density_ratio", "log_evidence", "sample", "single"]


@dataclass  # not frozen: Fabric rebuilds what a module's forward returns
class StructuredPosterior:
    """q(y, z_1..z_J) of B groups, of J views in D dimensions; all float32 at least.

    Attributes:
        content_mean: E[y], shape [B, D].
        content_variance: Var[y], shape [B, D].
        mean: E[z_j] given all views, shape [B, J, D].
        variance: Var[z_j] given all views, shape [B, J, D].
        message: m, shape [B, J, D].
        log_r: log R, shape [B, J, D].
        gain: g, how far a view follows its own message rather than the content, in (0, 1), shape [B, J, D].
        rho: The prior's ρ = τ² = 1 − σ² of every dimension, shape [D].
    """

    content_mean: Tensor
    content_variance: Tensor
    mean: Tensor
    variance: Tensor
    message: Tensor
    log_r: Tensor
    gain: Tensor
    rho: Tensor


def combine(message: Tensor, log_r: Tensor, prior: Prior) -> StructuredPosterior:
    """The joint posterior of content and latents given the messages of all views.

    Args:
        message: m, shape [B, J, D].
        log_r: log R, the logarithm of the messages' variances, shape [B, J, D].
        prior: The prior of the group; not flat.

    Raises:
        ValueError: A flat prior, which is no density and gives no posterior for one view.
    """
    if prior.flat:
        raise ValueError("a structured posterior needs the Gaussian prior, found a flat one; set flat = false")
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    rho = prior.correlations(message)
    sigma2 = 1 - rho
    gain = torch.sigmoid(torch.log1p(-rho) - log_r)
    weight = gain / sigma2
    content_variance = rho / (1 + rho * weight.sum(1))
    content_mean = content_variance * (weight * message).sum(1)
    mean = content_mean[:, None] + gain * (message - content_mean[:, None])
    rest = torch.sigmoid(log_r - torch.log1p(-rho))  # 1 − g, without the loss of digits
    variance = sigma2 * rest + rest.square() * content_variance[:, None]
    return StructuredPosterior(content_mean, content_variance, mean, variance, message, log_r, gain, rho)


def single(message: Tensor, log_r: Tensor) -> tuple[Tensor, Tensor]:
    """The posterior of one image on its own, which in the gauge σ² + τ² = 1 does not depend on ρ.

        mean = m / (1 + R)          s² = R / (1 + R)

    Args:
        message: m, shape [..., D].
        log_r: log R, shape [..., D].

    Returns:
        Mean and log variance, shape [..., D] each, float32 at least.
    """
    message, log_r = at_least_float32(message), at_least_float32(log_r)
    return message * torch.sigmoid(-log_r), functional.logsigmoid(log_r)


def sample(posterior: StructuredPosterior, generator: torch.Generator | None = None) -> Tensor:
    """Draws y, then each z_j given y, reparameterised so that gradients reach the messages and ρ.

    Args:
        posterior: Of B groups.
        generator: Source of the noise, on the posterior's device.

    Returns:
        z, shape [B, J, D].
    """
    content = _normal(posterior.content_mean, posterior.content_variance, generator)[:, None]
    mean = content + posterior.gain * (posterior.message - content)
    rest = torch.sigmoid(posterior.log_r - torch.log1p(-posterior.rho))
    return _normal(mean, ((1 - posterior.rho) * rest).expand_as(mean), generator)


def kl_divergence(posterior: StructuredPosterior) -> Tensor:
    """KL(q(z_1..z_J) ‖ p(z_1..z_J)), closed form.

    Since q(y | z) = p(y | z), it equals the divergence of the pair (y, z), which splits by the chain rule into terms
    that are never negative:

        KL(q(y) ‖ p(y)) = ½ [(Var[y] + E[y]²)/τ² − 1 − log(Var[y]/τ²)]
        E KL(q(z_j|y) ‖ p(z_j|y)) = ½ [g_j w_j ((m_j − E[y])² + Var[y]) − g_j − log(1 − g_j)]

    Returns:
        Nats per group, summed over views and dimensions, shape [B].
    """
    q = posterior
    share = q.content_variance / q.rho
    content = share + q.content_mean.square() / q.rho - 1 - share.log()
    distance = (q.message - q.content_mean[:, None]).square() + q.content_variance[:, None]
    log_rest = functional.logsigmoid(q.log_r - torch.log1p(-q.rho))
    views = q.gain.square() / (1 - q.rho) * distance - q.gain - log_rest
    return 0.5 * (content.sum(-1) + views.sum((1, 2)))


def log_evidence(posterior: StructuredPosterior) -> Tensor:
    """log p(m_1..m_J) = log N(m; 0, diag(σ² + R) + τ² 11ᵀ), by Sherman–Morrison.

    Returns:
        Nats per group, shape [B].
    """  # noqa: D403 (log is the function)
    q = posterior
    log_total = torch.logaddexp(torch.log1p(-q.rho).expand_as(q.log_r), q.log_r)
    distance = (q.message - q.content_mean[:, None]).square() * (-log_total).exp()
    views = math.log(2 * math.pi) + log_total + distance
    content = q.content_mean.square() / q.rho - (q.content_variance / q.rho).log()
    return -0.5 * (views.sum((1, 2)) + content.sum(-1))


def log_density_ratio(z: Tensor, posterior: StructuredPosterior) -> Tensor:
    """log p(z_1..z_J) − log q(z_1..z_J), at points.

    By Bayes' rule q(z) = p(z) Π_j N(m_j; z_j, R_j) / p(m), hence the ratio is log p(m) − Σ_j log N(m_j; z_j, R_j):
    neither density need be evaluated.

    Args:
        z: Latents, shape [..., B, J, D].
        posterior: Of the B groups.

    Returns:
        Nats per group, shape [..., B].
    """  # noqa: D403
    q = posterior
    squared_error = (q.message - z).square() * (-q.log_r).exp()
    return log_evidence(q) + 0.5 * (math.log(2 * math.pi) + q.log_r + squared_error).sum((-2, -1))


def _normal(mean: Tensor, variance: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + variance.sqrt() * noise
