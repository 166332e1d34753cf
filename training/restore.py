"""From a run directory back to the trained model, for evaluation and export."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from service.engine.images import Pixels
from training.checkpoint import load_checkpoint, load_weights
from training.health import to_pixels
from training.model import SimVae
from training.run_directory import RunDirectory, RunRecord
from training.trainer import build_model

__all__ = ["TrainedRun", "decode_latents", "encode_images", "load_run"]

_CHUNK = 256
"""Images at once: the first and last maps of a convolutional network at 128 pixels then take a gigabyte, not four."""


@dataclass(frozen=True)
class TrainedRun:
    """A run's record and its model with averaged weights, in evaluation mode."""

    record: RunRecord
    model: SimVae
    step: int


def load_run(run: RunDirectory, device: torch.device) -> TrainedRun:
    """Rebuilds the model of a run.

    Raises:
        RunError: No valid configuration.
        CheckpointError: No valid checkpoint, or one of another network.
    """
    record = run.record()
    checkpoint = load_checkpoint(run.checkpoint)
    model = build_model(record.config, record.input.shape)
    load_weights(model, checkpoint.ema)
    return TrainedRun(record, model.to(device).eval(), checkpoint.step)


@torch.no_grad()
def encode_images(model: SimVae, images: Pixels, device: torch.device) -> NDArray[np.float32]:
    """Posterior means of clean images, in float32.

    Args:
        model: On `device`.
        images: uint8 of shape [N, H, W, C].
        device: Where to compute.

    Returns:
        Shape [N, D].
    """
    chunks = (torch.from_numpy(images[i : i + _CHUNK].copy()).to(device) for i in range(0, len(images), _CHUNK))
    means = [model.encode(to_pixels(chunk)).mean.cpu().numpy() for chunk in chunks]
    return np.concatenate(means) if means else np.empty((0, model.latent_dim), np.float32)


@torch.no_grad()
def decode_latents(model: SimVae, latents: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """The decoder's mean images.

    Args:
        model: On `device`.
        latents: Shape [N, D].
        device: Where to compute.

    Returns:
        Pixels in [0, 1], shape [N, H, W, C].
    """
    chunks = (torch.from_numpy(latents[i : i + _CHUNK]).to(device) for i in range(0, len(latents), _CHUNK))
    return np.concatenate([model.decode(chunk).permute(0, 2, 3, 1).cpu().numpy() for chunk in chunks])
