"""What is measured while a model trains: the bound and its parts, on training and held-out views. Needs no labels."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from service.engine.images import Pixels
from training.batches import generator_for
from training.collapse import active_units, in_own_units, rank_me
from training.config import Config
from training.model import EmbeddingModel, Pass
from training.views import make_views

__all__ = ["held_out_metrics", "held_out_passes", "step_metrics", "to_pixels"]

_HELD_OUT_IMAGES = 2_000


def step_metrics(result: Pass) -> dict[str, Tensor]:
    """Means over a batch, as scalars on the device: nats per view; squared error per pixel in [0, 1] units."""
    values = {"loss": result.loss}
    if result.elbo is not None and result.squared_error is not None:
        values["elbo"] = result.elbo.value.mean()
        values["log_likelihood"] = result.elbo.log_likelihood.mean()
        values["kl"] = result.elbo.kl.mean()
        values["squared_error"] = result.squared_error.mean()
    return {name: value.detach() for name, value in {**values, **result.figures}.items()}


@torch.no_grad()
def held_out_metrics(model: EmbeddingModel, images: Pixels, config: Config, device: torch.device) -> dict[str, float]:
    """Everything of `step_metrics`, and how much of the latent space is in use, on images that were not trained on.

    Args:
        model: On `device`, in evaluation mode.
        images: uint8 of shape [N, H, W, C]; at most the first 2,000 are used.
        config: The run's.
        device: Where to compute.
    """
    images = images[:_HELD_OUT_IMAGES]
    passes = [
        (step_metrics(result), len(result.posterior.mean)) for result in held_out_passes(model, images, config, device)
    ]
    means = torch.cat([model.encode(to_pixels(chunk)).mean for chunk in _chunks(images, config, device)])
    if not config.objective.generative:
        means = in_own_units(means)
    weights = torch.tensor([float(count) for _, count in passes], device=device) / len(images)
    metrics = {name: (torch.stack([row[name] for row, _ in passes]) @ weights).item() for name in passes[0][0]}
    pixels = to_pixels(torch.from_numpy(images.copy()))
    return {
        **{f"held_out_{name}": value for name, value in metrics.items()},
        "active_units": float(active_units(means)),
        "rank_me": rank_me(means) if means.isfinite().all() else math.nan,
        "mean_image_squared_error": pixels.var(0, correction=0).mean().item(),
    }


@torch.no_grad()
def held_out_passes(model: EmbeddingModel, images: Pixels, config: Config, device: torch.device) -> Iterator[Pass]:
    """Passes over views of images that were not trained on, as many views at once as a step of training has.

    The same views are drawn every time, so that a curve shows the model and not the draw.

    Args:
        model: On `device`.
        images: uint8 of shape [N, H, W, C].
        config: The run's.
        device: Where to compute.
    """
    generator = generator_for(device, config.seed, "held-out")
    for chunk in _chunks(images, config, device):
        views = make_views(chunk, config.views, generator)
        yield model(views, model.draw_noise(len(chunk), config.views.count, generator))


def _chunks(images: Pixels, config: Config, device: torch.device) -> Iterator[Tensor]:
    size = config.optimiser.batch // config.views.count
    for start in range(0, len(images), size):
        yield torch.from_numpy(images[start : start + size].copy()).to(device)


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images of shape [B, H, W, C] to float32 in [0, 1] of shape [B, C, H, W]."""
    return images.permute(0, 3, 1, 2).float() / 255
