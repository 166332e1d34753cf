"""What is measured while a model trains: the bound and its parts, on training and held-out views. Needs no labels."""

from collections.abc import Iterator

import torch
from torch import Tensor

from service.engine.images import Pixels
from training.batches import generator_for
from training.config import Config
from training.model import Pass, SimVae
from training.objectives.simvae import Prior, virial_ratio
from training.views import make_views

__all__ = ["active_units", "held_out_metrics", "held_out_passes", "step_metrics", "to_pixels"]

_HELD_OUT_IMAGES = 2_000
_ACTIVE_VARIANCE = 0.01


def step_metrics(result: Pass, prior: Prior) -> dict[str, Tensor]:
    """Means over a batch, as scalars on the device: nats per view; squared error per pixel in [0, 1] units."""
    values = {
        "elbo": result.elbo.value.mean(),
        "log_likelihood": result.elbo.log_likelihood.mean(),
        "kl": result.elbo.kl.mean(),
        "squared_error": result.squared_error.mean(),
        "virial_ratio": virial_ratio(result.posterior.mean, result.posterior.log_var, prior),
    }
    return {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def held_out_metrics(model: SimVae, images: Pixels, config: Config, device: torch.device) -> dict[str, float]:
    """The bound, the reconstruction error and the active units on images that were not trained on.

    Args:
        model: On `device`.
        images: uint8 of shape [N, H, W, C]; at most the first 2,000 are used.
        config: The run's.
        device: Where to compute.
    """
    images = images[:_HELD_OUT_IMAGES]
    passes = list(held_out_passes(model, images, config, device))
    means = [model.encode(to_pixels(chunk)).mean for chunk in _chunks(images, config, device)]
    return {
        "held_out_elbo": torch.cat([result.elbo.value for result in passes]).mean().item(),
        "held_out_squared_error": torch.cat([result.squared_error for result in passes]).mean().item(),
        "active_units": float(active_units(torch.cat(means))),
    }


@torch.no_grad()
def held_out_passes(model: SimVae, images: Pixels, config: Config, device: torch.device) -> Iterator[Pass]:
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
        yield model(make_views(chunk, config.views, generator), generator)


def _chunks(images: Pixels, config: Config, device: torch.device) -> Iterator[Tensor]:
    size = config.optimiser.batch // config.views.count
    for start in range(0, len(images), size):
        yield torch.from_numpy(images[start : start + size].copy()).to(device)


def active_units(means: Tensor) -> int:
    """How many latent dimensions carry information: those whose posterior mean varies by more than 0.01.

    Args:
        means: Posterior means of different images, shape [N, D].

    Source: Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, section 5.2.
    """
    return int((means.var(0, correction=0) > _ACTIVE_VARIANCE).sum())


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images of shape [B, H, W, C] to float32 in [0, 1] of shape [B, C, H, W]."""
    return images.permute(0, 3, 1, 2).float() / 255
