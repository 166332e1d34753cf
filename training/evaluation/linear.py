"""Linear probes: multinomial logistic regression for categories, ridge regression for numbers. Knows tensors only."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ITERATIONS", "LinearMap", "fit_logistic", "fit_ridge", "rotate", "standardise"]

ITERATIONS = 100
_GRADIENT = 3e-4
"""Where L-BFGS stops: at so many iterations, or when no element of the gradient is larger; the loss is then about
1e-3 above its minimum at most, and the accuracy has long stood still."""
_CURVATURE = 0.1
"""About what p (1 − p) is on average, the curvature of the loss along a dimension of variance 1."""
_MOST_AXES = 2_048
"""Beyond so many, principal axes take longer than they save."""
_LEAST_DEVIATION = 1e-6
"""Below it a dimension counts as one that does not vary."""
_LEAST_VALUE = 1e-10
"""Of the largest eigenvalue: what is smaller is rounding, and its axis stays shorter than 1 instead of exploding."""


@dataclass(frozen=True)
class LinearMap:
    """features @ weightᵀ + bias, with a weight of shape [C, F] and a bias of shape [C]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Scores of shape [N, C] for features of shape [N, F]."""
        return torch.addmm(self.bias, features, self.weight.T)


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets, moved and scaled so that every dimension has mean 0 and variance 1 over the training items.

    A dimension that does not vary there is 0 in both. Scaled like the others, a unit that is dead on all training items
    and stirs on a single test item would be thousands of deviations there, and one item would decide the score.

    Args:
        train: Shape [N, F].
        test: Shape [M, F].
    """
    mean, deviation = train.mean(0), train.std(0, correction=0)
    scale = torch.where(deviation > _LEAST_DEVIATION, 1 / deviation, 0.0)
    return (train - mean).mul_(scale), (test - mean).mul_(scale)


def rotate(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in the principal axes of the training items; as they are where those take too long to find or are not.

    A penalised linear model stays what it was, for its penalty is the same in every orthonormal basis and its weights
    lie in the span of the training items; but L-BFGS is many times faster there, since it can be told the scale of
    every axis.

    Args:
        train: Standardised, shape [N, F].
        test: Shape [M, F].

    Returns:
        Shapes [N, K] and [M, K], K the smaller of N and F, or F.
    """
    count, size = train.shape
    if min(count, size) > _MOST_AXES:
        return train, test
    try:
        axes = _principal_axes(train)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # LAPACK did not converge: it takes longer without
        return train, test
    return train @ axes, test @ axes


def _principal_axes(train: Tensor) -> Tensor:
    count, size = train.shape
    if count < size:  # the same axes from the smaller matrix of inner products
        values, vectors = torch.linalg.eigh(train.double() @ train.double().T / count)
        scale = (count * values).clamp(min=_LEAST_VALUE * count * float(values[-1].clamp(min=1e-30))).rsqrt()
        axes: Tensor = train.T @ (vectors * scale).to(train.dtype)
    else:
        axes = torch.linalg.eigh((train.T @ train / count).double()).eigenvectors.to(train.dtype)
    return axes


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    l2: float,
    *,
    start: LinearMap | None = None,
    iterations: int = ITERATIONS,
) -> LinearMap:
    """Minimises (1/N) Σ_n −log softmax(W x_n + b)[y_n] + l2/2 ‖W‖² by L-BFGS.

    Classes are the first axis of all that is computed: with a handful of them, softmax over the last axis of [N, C]
    would take ten times as long as all else. What L-BFGS moves is W with every column scaled to a curvature of about 1.

    Args:
        features: Shape [N, F]; fastest when `standardise` and `rotate` made them.
        labels: Shape [N], 0 to C − 1.
        classes: C.
        l2: Weight decay.
        start: Where to begin; the solution for a larger l2 saves most of the work.
        iterations: At most so many.

    Source: Nocedal & Wright, "Numerical Optimization", chapter 7 (L-BFGS).
    """
    origin = start or LinearMap(features.new_zeros(classes, features.shape[1]), features.new_zeros(classes))
    scale = (_CURVATURE * features.square().mean(0) + l2).sqrt()
    scaled, bias = (value.clone().requires_grad_() for value in (origin.weight * scale, origin.bias))
    truth = functional.one_hot(labels, classes).T.to(features.dtype)
    optimiser = torch.optim.LBFGS(
        [scaled, bias], max_iter=iterations, tolerance_grad=_GRADIENT, history_size=20, line_search_fn="strong_wolfe"
    )

    @torch.no_grad()
    def closure() -> Tensor:
        weight = scaled / scale
        log_p = torch.addmm(bias[:, None], weight, features.T).log_softmax(0)
        loss = -(log_p * truth).sum() / len(labels) + l2 / 2 * weight.square().sum()
        error = log_p.exp_().sub_(truth).div_(len(labels))
        scaled.grad, bias.grad = (error @ features + l2 * weight) / scale, error.sum(1)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return LinearMap(scaled.detach() / scale, bias.detach())


def fit_ridge(features: Tensor, values: Tensor, alphas: Tensor) -> LinearMap:
    """Minimises (1/N) Σ_n (w·x_n + b − v_n)² + α ‖w‖² in closed form, for several targets, each with its own α.

    Args:
        features: Shape [N, F].
        values: Numbers to predict, shape [N, T].
        alphas: Shape [T].

    Returns:
        T maps in one, in float64.
    """
    features, values = features.double(), values.double()
    centre, mean = features.mean(0), values.mean(0)
    spectrum, basis = torch.linalg.eigh((features - centre).T @ (features - centre) / len(features))
    moments = basis.T @ ((features - centre).T @ (values - mean)) / len(features)
    weight = (basis @ (moments / (spectrum.clamp(min=0)[:, None] + alphas))).T
    return LinearMap(weight, mean - weight @ centre)
