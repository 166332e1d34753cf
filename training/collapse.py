"""Whether an embedding has collapsed, told without labels: how much of it is in use, and alarms in words.

Collapse is an embedding that no longer depends on the image, or depends on it in a few directions only. Everything here
is a function of arrays; who calls it decides on which images and when.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["active_units", "alarms", "in_own_units", "kl_per_dimension", "lidar", "rank_me", "uninformed_kl"]

_ACTIVE_VARIANCE = 0.01
_FLOOR = 1e-7
"""Added to every share of a spectrum, so that its logarithm is finite; RankMe's."""
_WITHIN_FLOOR = 1e-4
"""Added to the variances within groups, so that LiDAR is finite where views of an image agree; LiDAR's δ."""


def active_units(means: Tensor) -> int:
    """How many latent dimensions carry information: those whose posterior mean varies by more than 0.01.

    Args:
        means: Posterior means of different images, shape [N, D].

    Source: Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, section 5.2.
    """
    return int((means.var(0, correction=0) > _ACTIVE_VARIANCE).sum())


def in_own_units(points: Tensor) -> Tensor:
    """Embeddings centred and divided by their root mean square, for models to which the scale means nothing.

    Args:
        points: Of different images, shape [N, D].
    """
    centred = points - points.mean(0)
    return centred / centred.square().mean().sqrt().clamp(min=1e-12)


def rank_me(features: Tensor) -> float:
    """The effective rank of an embedding: exp of the entropy of its normalised singular values.

        exp(−Σ_k p_k log p_k)          p_k = σ_k / Σ_i σ_i + 1e-7

    Args:
        features: Of different images, not centred, shape [N, F].

    Returns:
        1 (a single direction) to min(N, F) (all alike).

    Source: Garrido, Balestriero, Najman & LeCun, "RankMe", arXiv 2210.02885, eq. 1.
    """
    return _effective_rank(torch.linalg.svdvals(features.double()))


def lidar(groups: Tensor) -> float:
    """The effective rank of what tells images apart, measured in units of what tells views of one image apart.

    The entropy is that of the eigenvalues of Σ_w^(−1/2) Σ_b Σ_w^(−1/2), with Σ_b the covariance of the groups' means
    and Σ_w the mean covariance within groups plus 1e-4 I: linear discriminant analysis with images for classes.

    Args:
        groups: Embeddings of J ≥ 2 views of each of N ≥ 2 images, shape [N, J, D].

    Returns:
        1 to D.

    Source: Thilak et al., "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures",
    arXiv 2312.04000, section 3.
    """
    groups = groups.double()
    count, views, dim = groups.shape
    means = groups.mean(1)
    offsets = (groups - means[:, None]).flatten(0, 1)
    within = offsets.T @ offsets / (count * (views - 1)) + _WITHIN_FLOOR * torch.eye(dim).to(offsets)
    means = means - means.mean(0)
    between = means.T @ means / (count - 1)
    inverse_root = torch.linalg.inv(torch.linalg.cholesky(within))
    return _effective_rank(torch.linalg.eigvalsh(inverse_root @ between @ inverse_root.T).clamp(min=0))


def _effective_rank(spectrum: Tensor) -> float:
    share = spectrum / spectrum.sum().clamp(min=1e-300) + _FLOOR
    return float((-(share * share.log()).sum()).exp())


def kl_per_dimension(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(μ, s²) ‖ N(0, 1)) = ½ (μ² + s² − 1 − log s²) of every latent dimension, averaged over images.

    N(0, 1) is the prior of a single view, whatever ρ is, since σ² + τ² = 1. A dimension near 0 is not used.

    Args:
        mean: Posterior means of different images, shape [N, D].
        log_var: Log posterior variances, shape [N, D].

    Returns:
        Nats, shape [D].
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0)


def uninformed_kl(rho: Tensor, views: int) -> Tensor:
    """The smallest KL that views encoded one by one can have, in nats per view: that of a posterior blind to its image.

    Independent posteriors cannot imitate a prior under which views correlate. The best of them has the variances
    1/[Σ⁻¹]_jj, with Σ = (1 − ρ) I_J + ρ 11ᵀ, and per dimension the KL ½ [log|Σ| + J log [Σ⁻¹]_jj].

    Args:
        rho: Prior correlations of two views, shape [D], each strictly between 0 and 1.
        views: J.

    Returns:
        A scalar; 0 for one view.
    """
    within, total = 1 - rho, 1 - rho + views * rho
    log_determinant = (views - 1) * within.log() + total.log()
    precision = (1 - rho / total) / within
    return 0.5 * (log_determinant / views + precision.log()).sum()


def alarms(figures: Mapping[str, float | None]) -> list[str]:
    """Says in sentences what looks wrong with a model, with the likely cause and what to try; silent when nothing does.

    Thresholds are loose: a run that learns anything does not ring, once its first tenth is over.

    Args:
        figures: Of held-out images, any of these, under these names or with `held_out_` before; what is absent or
            None is skipped. `active_units` of `latent_dim`; `rank_me`; `kl` in nats per view under a proper prior,
            above `kl_floor` (`uninformed_kl`, 0 without); `squared_error` and `mean_image_squared_error`, both per
            pixel; `virial_ratio`, 1 at convergence; `embedding_std`, the mean standard deviation of a dimension; and
            any others, which are only checked to be finite.
    """
    known = {name.removeprefix("held_out_"): float(value) for name, value in figures.items() if value is not None}
    infinite = [name for name, value in known.items() if not math.isfinite(value)]
    finite = {name: value for name, value in known.items() if math.isfinite(value)}
    found = []
    if infinite:
        found.append(
            f"Not finite: {', '.join(infinite)}; likely cause: a learning rate that is too high, or bf16 where it does "
            "not suffice; try --set optimiser.lr at a third, or optimiser.precision=32-true."
        )
    return [*found, *(sentence for check in _CHECKS if (sentence := check(finite)) is not None)]


def _few_dimensions(figures: Mapping[str, float]) -> str | None:
    active, dim = figures.get("active_units"), figures.get("latent_dim")
    if active is None or dim is None or active >= min(dim, max(2, math.ceil(dim / 20))):
        return None
    return (
        f"Only {active:.0f} of {dim:.0f} latent dimensions {'varies' if active == 1 else 'vary'} between images: the "
        "embedding has collapsed; likely cause: reconstruction weighs too little against the prior, or the learning "
        "rate is too high; try a smaller objective.sigma_x or beta, or a third of the learning rate."
    )


def _low_rank(figures: Mapping[str, float]) -> str | None:
    rank, dim = figures.get("rank_me"), figures.get("latent_dim")
    if rank is None or dim is None or dim < 4 or rank >= 1.2:
        return None
    return (
        f"The embedding has an effective rank (RankMe) of {rank:.2f}, of {dim:.0f} possible: nearly all images lie on "
        "a line; likely cause: dimensional collapse; try a lower learning rate, a larger batch, or for VICReg a larger "
        "objective.covariance."
    )


def _posterior_is_prior(figures: Mapping[str, float]) -> str | None:
    kl, dim = figures.get("kl"), figures.get("latent_dim")
    excess = None if kl is None else abs(kl - figures.get("kl_floor", 0.0))
    if excess is None or dim is None or excess >= 0.005 * dim:
        return None
    return (
        f"The posterior is the prior: its KL exceeds the least possible one by {excess:.3f} nats per view over "
        f"{dim:.0f} dimensions; likely cause: posterior collapse, for which objective.sigma_x or beta is too large; "
        "try halving it."
    )


def _nothing_reconstructed(figures: Mapping[str, float]) -> str | None:
    error, baseline = figures.get("squared_error"), figures.get("mean_image_squared_error")
    if error is None or not baseline or error < 0.98 * baseline:
        return None
    return (
        f"Reconstructions are no better than the mean image (squared error {error:.4f} against {baseline:.4f}): the "
        "decoder ignores its latents; likely cause: a learning rate that killed the units of the network, or an "
        "objective.sigma_x that is too large; try a third of the learning rate, or a smaller sigma_x."
    )


def _wrong_scale(figures: Mapping[str, float]) -> str | None:
    ratio = figures.get("virial_ratio")
    if ratio is None or 0.1 <= ratio <= 10:
        return None
    return (
        f"The virial ratio is {ratio:.3g} where a converged model has 1: the scale of the latents does not fit the "
        "prior; likely cause: training is far from done, or rho is too near to 1; try more epochs, "
        "or a smaller objective.rho."
    )


def _one_point(figures: Mapping[str, float]) -> str | None:
    deviation = figures.get("embedding_std")
    if deviation is None or deviation >= 1e-3:
        return None
    return (
        f"All images have nearly the same embedding (standard deviation {deviation:.1e} per dimension); likely cause: "
        "complete collapse; try a lower learning rate, a larger batch, or for VICReg a larger objective.variance."
    )


_CHECKS: tuple[Callable[[Mapping[str, float]], str | None], ...] = (
    _few_dimensions, _low_rank, _posterior_is_prior, _nothing_reconstructed, _wrong_scale, _one_point,
)  # fmt: skip
