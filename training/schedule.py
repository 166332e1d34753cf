"""What changes from step to step by rule: the learning rate and how fast the averaged weights follow."""

import math

from training.config import OptimiserConfig

__all__ = ["averaging_decay", "learning_rate"]


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
