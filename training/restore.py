"""From a run directory back to the trained model, for evaluation and export."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.engine.images import Pixels
from training.build import build_model
from training.checkpoint import load_checkpoint, load_weights
from training.generative import GenerativeModel
from training.health import to_pixels
from training.model import EmbeddingModel
from training.run_directory import RunDirectory, RunRecord

__all__ = ["TrainedRun", "decode_latents", "encode_images", "feature_images", "load_run"]

_CHUNK = 256
"""Images at once: the first and last maps of a convolutional network at 128 pixels then take a gigabyte, not four."""


@dataclass(frozen=True)
class TrainedRun:
    """A run's record and its model with averaged weights, in evaluation mode."""

    record: RunRecord
    model: EmbeddingModel
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


def encode_images(model: EmbeddingModel, images: Pixels, device: torch.device) -> NDArray[np.float32]:
    """Embeddings of clean images, in float32.

    Args:
        model: On `device`.
        images: uint8 of shape [N, H, W, C].
        device: Where to compute.

    Returns:
        Posterior means, shape [N, D].
    """
    return _in_chunks(lambda pixels: model.encode(pixels).mean, images, device, model.latent_dim)


def feature_images(model: EmbeddingModel, images: Pixels, device: torch.device) -> NDArray[np.float32]:
    """The encoder's last hidden layer for clean images, in float32; arguments as of `encode_images`; shape [N, F]."""
    return _in_chunks(model.features, images, device, 0)


@torch.no_grad()
def decode_latents(model: GenerativeModel, latents: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
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


@torch.no_grad()
def _in_chunks(
    function: Callable[[Tensor], Tensor], images: Pixels, device: torch.device, size: int
) -> NDArray[np.float32]:
    chunks = (torch.from_numpy(images[i : i + _CHUNK].copy()).to(device) for i in range(0, len(images), _CHUNK))
    rows = [function(to_pixels(chunk)).cpu().numpy() for chunk in chunks]
    return np.concatenate(rows) if rows else np.empty((0, size), np.float32)
