"""How alike two images are: plain geometry, and the model's own answer. Knows numpy and nothing else.

Under the model the latents of two views, z₁ and z₂, share their content y (same) or do not (different):
    same:       (z₁, z₂) ~ N(0, Σ_s),  Σ_s = [[t, τ²], [τ², t]],  t = σ² + τ²
    different:  (z₁, z₂) ~ N(0, t I)
An image gives no latent but a posterior N(m, v); both densities are integrated over it, in closed form.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.engine.bundle import EmbeddingSpec
from service.engine.errors import SimilarityError
from service.engine.results import Embeddings

__all__ = ["METRICS", "available_metrics", "compare", "cosine", "euclidean", "log_likelihood_ratio", "probability_same"]

Array = NDArray[np.float64]
METRICS = ("cosine", "euclidean", "log_likelihood_ratio", "probability_same")

_BLOCK = 1 << 20
"""The most numbers of one temporary array when every left row meets every right row."""


def available_metrics(spec: EmbeddingSpec) -> tuple[str, ...]:
    """The members of `METRICS` a model defines: no ratio under a flat p(y), no probability without calibration."""
    if spec.tau2 is None:
        return METRICS[:2]
    return METRICS if spec.calibration else METRICS[:3]


def compare(
    left: Embeddings,
    right: Embeddings,
    spec: EmbeddingSpec,
    metrics: Sequence[str],
    *,
    pairs: bool = False,
    prior: float = 0.5,
) -> dict[str, Array]:
    """Compares every left embedding with every right one, or the two of each pair.

    Args:
        left: L embeddings; a variance of 0 says that the latent is known.
        right: R embeddings.
        spec: The latent space they are of.
        metrics: Members of `available_metrics(spec)`.
        pairs: Whether to compare the first with the first, the second with the second, and so on.
        prior: The share of compared images that show the same content where it is applied, 0 to 1 exclusive.

    Returns:
        For each metric an array of shape [L, R], or [L] for pairs.

    Raises:
        SimilarityError: A metric the model does not define, or embeddings that do not fit it or each other.
    """
    _check_metrics(metrics, spec)
    _check_sides(left, right, spec.dim, pairs)
    if not 0 < prior < 1:
        raise SimilarityError(f"Expected a prior between 0 and 1, both exclusive; found {prior}.")
    result: dict[str, Array] = {}
    for metric in metrics:
        if metric in {"cosine", "euclidean"}:
            function = cosine if metric == "cosine" else euclidean
            result[metric] = function(left.mean, right.mean, pairs=pairs)
        else:
            ratio = result.get("log_likelihood_ratio")
            if ratio is None:
                ratio = log_likelihood_ratio(left, right, spec.sigma2, spec.tau2, pairs=pairs)
            result[metric] = ratio if metric == "log_likelihood_ratio" else probability_same(ratio, spec, prior)
    return result


def cosine(left: NDArray[Any], right: NDArray[Any], *, pairs: bool = False) -> Array:
    """The cosine of the angle between embeddings, −1 to 1; 0 where one of them is zero.

    Args:
        left: Shape [L, D].
        right: Shape [R, D].
        pairs: As in `compare`.
    """
    a, b = _unit(left), _unit(right)
    result: Array = np.clip(np.einsum("nd,nd->n", a, b) if pairs else a @ b.T, -1.0, 1.0)
    return result


def euclidean(left: NDArray[Any], right: NDArray[Any], *, pairs: bool = False) -> Array:
    """The distance between embeddings of shapes [L, D] and [R, D], in latent units; smaller is more alike."""

    def distance(a: Array, b: Array) -> Array:
        length: Array = np.linalg.norm(a - b, axis=-1)
        return length

    return _meet(distance, (left,), (right,), pairs)


def log_likelihood_ratio(
    left: Embeddings, right: Embeddings, sigma2: ArrayLike, tau2: ArrayLike | None, *, pairs: bool = False
) -> Array:
    """Evidence in nats that two images share their content: log p(x₁, x₂ | same) − log p(x₁) − log p(x₂).

    Per dimension, with V = diag(v₁, v₂) and A = Σ_s⁻¹ − I/t = [[a, −b], [−b, a]]:
        ½ log(t² / |Σ_s|) − ½ log|I + V A| − ½ mᵀ A (I + V A)⁻¹ m
    A posterior wider than the prior says nothing about the content; its variance is taken as t.

    Args:
        left: L embeddings.
        right: R embeddings.
        sigma2: σ², a positive number or D of them.
        tau2: τ², likewise; None is the flat p(y).
        pairs: As in `compare`.

    Raises:
        SimilarityError: Under the flat p(y) the ratio is infinite and only distances rank.
    """
    if tau2 is None:
        raise SimilarityError("Under a flat p(y) there is no likelihood ratio; available are cosine and euclidean.")
    sigma2, tau2 = np.asarray(sigma2, np.float64), np.asarray(tau2, np.float64)
    total = sigma2 + tau2
    determinant = sigma2 * (sigma2 + 2 * tau2)
    a, b = tau2**2 / (total * determinant), tau2 / determinant
    c = a**2 - b**2
    constant = 0.5 * np.log(total**2 / determinant)

    def ratio(m1: Array, v1: Array, m2: Array, v2: Array) -> Array:
        inner = 1 + a * (v1 + v2) + c * v1 * v2
        quadratic = (a + c * v2) * m1**2 + (a + c * v1) * m2**2 - 2 * b * m1 * m2
        total_evidence: Array = (constant - 0.5 * (np.log(inner) + quadratic / inner)).sum(axis=-1)
        return total_evidence

    sides = [(side.mean, np.minimum(side.variance, total)) for side in (left, right)]
    return _meet(ratio, sides[0], sides[1], pairs)


def probability_same(ratio: Array, spec: EmbeddingSpec, prior: float = 0.5) -> Array:
    """P(same content) = sigmoid(slope · LLR + intercept + logit prior), 0 to 1; same shape as the ratio.

    Raises:
        SimilarityError: The model was not calibrated.
    """
    if spec.calibration is None:
        raise SimilarityError("The model has no calibration; available are " + ", ".join(available_metrics(spec)) + ".")
    logit = spec.calibration.slope * ratio + spec.calibration.intercept + np.log(prior / (1 - prior))
    probability: Array = 0.5 * (1 + np.tanh(0.5 * logit))  # a sigmoid that cannot overflow
    return probability


def _unit(vectors: NDArray[Any]) -> Array:
    unit: Array = np.array(vectors, np.float64)
    norm = np.linalg.norm(unit, axis=-1, keepdims=True)
    unit /= np.where(norm > 0, norm, 1.0)
    return unit


def _meet(
    function: Callable[..., Array], left: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]], pairs: bool
) -> Array:
    """Applies a function of [..., D] arrays to rows, or to all rows × rows, without ever holding [L, R, D]."""
    left, right = ([np.asarray(array, np.float64) for array in side] for side in (left, right))
    rows, columns, dim = len(left[0]), len(right[0]), left[0].shape[1]
    if pairs:
        return function(*left, *right)
    result = np.empty((rows, columns))
    step = max(1, _BLOCK // max(1, columns * dim))
    for start in range(0, rows, step):
        block = [array[start : start + step, None] for array in left]
        result[start : start + step] = function(*block, *right)
    return result


def _check_metrics(metrics: Sequence[str], spec: EmbeddingSpec) -> None:
    available = available_metrics(spec)
    missing = [metric for metric in metrics if metric not in available]
    if not missing:
        return
    why = "unknown"
    if missing[0] in METRICS:
        why = "undefined under a flat p(y)" if spec.tau2 is None else "undefined without calibration"
    raise SimilarityError(f"The metric {missing[0]} is {why} for this model; available are {', '.join(available)}.")


def _check_sides(left: Embeddings, right: Embeddings, dim: int, pairs: bool) -> None:
    for name, side in (("left", left), ("right", right)):
        for array in (side.mean, side.variance):
            if array.ndim != 2 or array.shape[1] != dim or not np.isfinite(array).all():
                raise SimilarityError(
                    f"Expected {name} embeddings of {dim} finite numbers; found an array of shape {list(array.shape)}."
                )
        if side.mean.shape != side.variance.shape or (side.variance < 0).any():
            raise SimilarityError(f"Expected for each of the {name} embeddings {dim} variances of at least 0.")
    if pairs and len(left) != len(right):
        raise SimilarityError(f"Expected as many left as right items for pairs; found {len(left)} and {len(right)}.")
