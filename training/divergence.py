"""When a loss is no number any more: finding the step, and saying what likely made it and what to do."""

import math

from torch import Tensor

from training.config import Config
from training.run_directory import RunDirectory
from training.schedule import learning_rate

__all__ = ["WATCHED", "DivergedError", "diverged", "first_divergence"]

WATCHED = ("loss", "log_likelihood", "kl")
"""The metrics of a step that tell which part broke; a discriminative objective has the first only."""


class DivergedError(Exception):
    """The loss became infinite or not a number; the message says at which step and what likely made it."""


def first_divergence(values: Tensor) -> tuple[int, str, float] | None:
    """The first step whose loss is infinite or not a number.

    Args:
        values: The watched metrics of consecutive steps, those a model has, shape [steps, 1 to 3], on the CPU.

    Returns:
        Its index, words for what broke, and the loss; None when all are finite.
    """
    bad = (~values.isfinite().all(1)).nonzero()
    if not len(bad):
        return None
    first = int(bad[0])
    loss, *terms = values[first].tolist()
    kinds = zip(("reconstruction", "KL"), terms, strict=False)
    broken = " and ".join(f"the {name}" for name, value in kinds if not math.isfinite(value))
    return first, f"The loss, through {broken or 'its sum'},", loss


def diverged(what: str, value: float, *, step: int, total: int, config: Config, run: RunDirectory) -> DivergedError:
    """The error of a run that no longer computes anything.

    Args:
        what: Which figure broke, as the subject of a sentence.
        value: What it became.
        step: After which step, counted from 1.
        total: Steps of the run.
        config: How it was optimised, and for how many epochs.
        run: Where its last good state is.
    """
    optimiser, rate = config.optimiser, learning_rate(step - 1, total, config.optimiser)
    other = " --set optimiser.precision=32-true" if optimiser.precision != "32-true" else ""
    kept = "the checkpoint there is from before" if run.checkpoint.exists() else "no checkpoint was written"
    epoch = (step - 1) * config.epochs // total + 1
    return DivergedError(
        f"{what} became {value} at step {step} of {total} (epoch {epoch}). The likely "
        f"cause is a learning rate that is too high (it was {rate:.2g}). Start again into another --out with "
        f"--set optimiser.lr={optimiser.lr / 3:.1g}{other}; {run.path} stays as it was, {kept}."
    )
