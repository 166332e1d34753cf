"""Whether the model knows two views of one image when it sees them: pairs of held-out views, scored and calibrated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.evaluation.verification import (
    Bin,
    area_under_curve,
    cllr,
    equal_error_rate,
    fit_line,
    min_cllr,
    reliability,
)

__all__ = ["Similarity", "Views", "log_likelihood_ratio", "measure_similarity"]


@dataclass(frozen=True)
class Views:
    """J views of each of N images, as the encoder sees them.

    Attributes:
        mean: Shape [N, J, D].
        log_var: Log posterior variances, likewise; None when the encoder gives points.
    """

    mean: Tensor
    log_var: Tensor | None


@dataclass(frozen=True)
class Similarity:
    """How well pairs of the same image are told from pairs of different ones; half of the pairs are of each kind.

    Attributes:
        pairs: How many.
        score: `log_likelihood_ratio`, or `cosine` where the model has none; `eer` and `auc` are its.
        eer: Equal error rate, 0 to 1.
        auc: Area under the ROC curve, 0 to 1.
        cosine_eer: Of the cosine of the embeddings, for comparison; likewise `cosine_auc`.
        cosine_auc: See `cosine_eer`.
        cllr: Cost of the ratios as the model gives them, in bits; this and what follows is None without them.
        cllr_calibrated: After a line fitted to the pairs of the other half of the images.
        cllr_min: After the best monotone calibration of the pairs themselves, the least that is possible.
        slope: Of the line fitted to all pairs; 1 and an intercept of 0 need no calibration.
        intercept: See `slope`.
        reliability: Of the calibrated ratios.
    """

    pairs: int
    score: str
    eer: float
    auc: float
    cosine_eer: float
    cosine_auc: float
    cllr: float | None = None
    cllr_calibrated: float | None = None
    cllr_min: float | None = None
    slope: float | None = None
    intercept: float | None = None
    reliability: tuple[Bin, ...] | None = None


def measure_similarity(views: Views, rho: Tensor | None, seed: int) -> Similarity | None:
    """Scores pairs of views of the same image, and as many of different images.

    Images are cut into two halves and pairs never reach across, so that a calibration fitted on one half has seen no
    image of the other.

    Args:
        views: Two of each image, and none was trained on.
        rho: Prior correlation of two views, a scalar or shape [D], when the prior has a density over groups.
        seed: Decides the halves, and which images are paired wrongly.

    Returns:
        None with fewer than four images.
    """
    if len(views.mean) < 4:
        return None
    halves = np.array_split(np.random.default_rng(seed).permutation(len(views.mean)), 2)
    pairs = [_pairs(half) for half in halves]

    def scores(function: Callable[[Tensor, Tensor], Tensor]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        ordered = [(function(left, right), function(left, wrong)) for left, right, wrong in pairs]
        return [(same.double().cpu().numpy(), different.double().cpu().numpy()) for same, different in ordered]

    flat = views.mean.flatten(0, 1)
    angles = _joined(scores(lambda left, right: functional.cosine_similarity(flat[left], flat[right])))
    angle = (equal_error_rate(*angles), area_under_curve(*angles))
    count = 2 * len(views.mean)
    if rho is None or views.log_var is None:
        return Similarity(count, "cosine", *angle, *angle)
    variance = views.log_var.flatten(0, 1).double().exp()

    def ratio(left: Tensor, right: Tensor) -> Tensor:
        return log_likelihood_ratio(flat[left], variance[left], flat[right], variance[right], rho)

    first, second = scores(ratio)
    raw = _joined([first, second])
    lines = fit_line(*second), fit_line(*first)
    crossed = [(line(same), line(different)) for line, (same, different) in zip(lines, (first, second), strict=True)]
    calibrated, line = _joined(crossed), fit_line(*raw)
    return Similarity(
        count,
        "log_likelihood_ratio",
        equal_error_rate(*raw),
        area_under_curve(*raw),
        *angle,
        cllr=cllr(*raw),
        cllr_calibrated=cllr(*calibrated),
        cllr_min=min_cllr(*raw),
        slope=line.slope,
        intercept=line.intercept,
        reliability=reliability(*calibrated),
    )


def log_likelihood_ratio(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor, rho: Tensor) -> Tensor:
    """Evidence in nats that two images share their content: log p(x₁, x₂ | same) − log p(x₁) − log p(x₂).

    With Σ_s = [[1, ρ], [ρ, 1]], V = diag(v₁, v₂) and A = Σ_s⁻¹ − I = [[a, −b], [−b, a]], summed over dimensions:

        −½ log(1 − ρ²) − ½ log|I + V A| − ½ mᵀ A (I + V A)⁻¹ m          a = ρ² / (1 − ρ²)          b = ρ / (1 − ρ²)

    A posterior wider than the prior says nothing about the content; its variance is taken as 1.

    Args:
        m1: Posterior means, shape [N, D].
        v1: Posterior variances, shape [N, D].
        m2: Of the other images, likewise.
        v2: See `m2`.
        rho: Prior correlation of two views, a scalar or shape [D], in the gauge σ² + τ² = 1.

    Returns:
        Float64 of shape [N].

    Source: Ioffe, "Probabilistic Linear Discriminant Analysis", 2006, with the posterior of each latent integrated out.
    """
    m1, m2, rho = m1.double(), m2.double(), rho.double()
    v1, v2 = v1.double().clamp(max=1), v2.double().clamp(max=1)
    a, b = rho**2 / (1 - rho**2), rho / (1 - rho**2)
    c = -(rho**2) / (1 - rho**2)  # a² − b²
    inner = 1 + a * (v1 + v2) + c * v1 * v2
    quadratic = (a + c * v2) * m1**2 + (a + c * v1) * m2**2 - 2 * b * m1 * m2
    return -0.5 * ((1 - rho**2).log() + inner.log() + quadratic / inner).sum(-1)


def _pairs(images: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Places of first views, of second views of the same images, and of second views of others (one cycle of all)."""
    left = torch.from_numpy(2 * images)
    return left, left + 1, torch.from_numpy(2 * np.roll(images, 1) + 1)


def _joined(
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.concatenate([same for same, _ in parts]), np.concatenate([different for _, different in parts])
