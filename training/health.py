"""What is measured while a model trains: the bound and its parts, on training and held-out views. Needs no labels."""

import torch
from torch import Tensor

from service.engine.images import Pixels
from training.batches import generator_for
from training.config import Config
from training.model import Pass, SimVae
from training.objectives import Prior, virial_ratio
from training.views import make_views

__all__ = ["active_units", "held_out_metrics", "step_metrics", "to_pixels"]

_HELD_OUT_IMAGES = 2_000
_CHUNK = 500
_ACTIVE_VARIANCE = 0.01


def step_metrics(result: Pass, prior: Prior) -> dict[str, Tensor]:
    """Means over a batch, as scalars on the device: nats per view; squared error per pixel in [0, 1] units."""
    posterior = result.posterior
    single_flat_view = prior.flat and posterior.mean.shape[1] == 1
    values = {
        "elbo": result.elbo.value.mean(),
        "log_likelihood": result.elbo.log_likelihood.mean(),
        "kl": result.elbo.kl.mean(),
        "squared_error": result.squared_error.mean(),
    }
    if not single_flat_view:
        values["virial_ratio"] = virial_ratio(posterior.mean, posterior.log_var, prior)
    return {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def held_out_metrics(model: SimVae, images: Pixels, config: Config, device: torch.device) -> dict[str, float]:
    """The bound, the reconstruction error and the active units on images that were not trained on.

    The same views are drawn every time, so that the curve shows the model and not the draw.

    Args:
        model: On `device`.
        images: uint8 of shape [N, H, W, C]; at most the first 2,000 are used.
        config: The run's.
        device: Where to compute.
    """
    generator = generator_for(device, config.seed, "held-out")
    sums = dict.fromkeys(("held_out_elbo", "held_out_squared_error"), 0.0)
    means, count = [], min(len(images), _HELD_OUT_IMAGES)
    for start in range(0, count, _CHUNK):
        chunk = torch.from_numpy(images[start : min(start + _CHUNK, count)].copy()).to(device)
        result = model(make_views(chunk, config.views, generator), generator)
        sums["held_out_elbo"] += result.elbo.value.sum().item()
        sums["held_out_squared_error"] += result.squared_error.sum().item()
        means.append(model.encode(to_pixels(chunk)).mean)
    return {name: value / count for name, value in sums.items()} | {
        "active_units": float(active_units(torch.cat(means)))
    }


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
