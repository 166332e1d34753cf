"""Checkpoints: everything a run needs to go on as if it had never stopped, written so that none is ever lost.

A checkpoint is written beside the old one and renamed over it only when it is complete on disk. Loading unpickles
nothing but tensors and plain values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.files import written_whole

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint", "load_weights", "save_checkpoint"]

FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint that cannot be written or read; the message says which earlier one is left."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` optimiser steps.

    There is no generator state: every random draw is a function of the seed and the step (`training.trainer`).

    Attributes:
        step: Optimiser steps done.
        model: Weights.
        ema: Averaged weights, the ones to evaluate and export.
        optimiser: State of the optimiser.
        sums: Metrics summed since the epoch began, so that an epoch that was interrupted reports the same means.
        elapsed_s: Seconds trained so far.
    """

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser: dict[str, Any]
    sums: dict[str, Tensor]
    elapsed_s: float


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint over an earlier one, all or nothing.

    Raises:
        CheckpointError: The disk is full or not writable; the earlier checkpoint is untouched.
    """
    try:
        with written_whole(path) as file:
            torch.save({"format": FORMAT, **vars(checkpoint)}, file)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a failed write into RuntimeError
        kept = "the earlier checkpoint there is untouched" if path.exists() else "no earlier checkpoint exists"
        raise CheckpointError(
            f"{path}: cannot write the checkpoint of step {checkpoint.step}: {error}; {kept}."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU.

    Raises:
        CheckpointError: Missing, damaged, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a checkpoint, found no file; train first, or name another run.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file surfaces as RuntimeError, UnpicklingError, EOFError, ValueError...
        raise CheckpointError(f"{path}: expected a checkpoint, found a damaged file ({error}).") from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{path}: expected checkpoint format {FORMAT}, found {found!r}; use the version that wrote it."
        )
    return Checkpoint(**content)


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Puts weights into the network they were saved from.

    Raises:
        CheckpointError: They are another network's.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected a checkpoint of the network in config.json, found another's: {error}"
        ) from error
