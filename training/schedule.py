"""The optimiser's rules: what decays, the learning rate of a step, and how fast the averaged weights follow."""

import math
from typing import Any

from torch import nn

from training.config import OptimiserConfig

__all__ = ["averaging_decay", "learning_rate", "parameter_groups"]


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Linear warm-up to the peak, then half a cosine down to 0.

    Args:
        step: Counted from 0.
        total: Steps of the whole run.
        config: Peak and share of warm-up.
    """
    warm_up = max(round(config.warm_up * total), 1)
    if step < warm_up:
        return config.lr * (step + 1) / warm_up
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(total - warm_up, 1)))


def averaging_decay(step: int, config: OptimiserConfig) -> float:
    """The share of the averaged weights that one step keeps; small at first, so that a short run averages its end.

    Args:
        step: Steps done, counted from 0.
        config: The decay that is reached in the long run.
    """
    return min(config.ema_decay, (1 + step) / (10 + step))


def parameter_groups(model: nn.Module, config: OptimiserConfig) -> list[dict[str, Any]]:
    """The parameters for the optimiser: weights decay, biases, normalisations and learned variances do not.

    Args:
        model: Whose.
        config: The weight decay.
    """
    parameters = list(model.parameters())
    return [
        {"params": [value for value in parameters if value.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [value for value in parameters if value.ndim < 2], "weight_decay": 0.0},
    ]
