"""The label-free figures of a trained model: bounds, collapse, and whether it knows two views of one image.

All functions take the model on its device and in evaluation mode, uint8 images of shape [N, H, W, C] that were not
trained on, and the run's configuration, whose seed decides every draw.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.engine.images import Pixels
from training.batches import generator_for
from training.collapse import active_units, alarms, in_own_units, kl_per_dimension, lidar, rank_me
from training.config import Config
from training.evaluation.bounds import SAMPLES, importance_weighted_gain, mean_error
from training.evaluation.results import Health, Likelihood
from training.evaluation.similarity import Similarity, Views, measure_similarity
from training.generative import GenerativeModel
from training.health import held_out_metrics, held_out_passes, to_pixels
from training.model import EmbeddingModel, Posterior
from training.views import make_views

__all__ = ["measure_health", "measure_likelihood", "measure_pairs"]

_CHUNK = 256
_SCATTERED_IMAGES, _SCATTERED_VIEWS = 1_000, 10
_PAIRED_IMAGES = 5_000


def measure_likelihood(
    model: EmbeddingModel, images: Pixels, config: Config, device: torch.device
) -> Likelihood | None:
    """Bounds on the log-likelihood of held-out views; None for a discriminative model."""
    if not isinstance(model, GenerativeModel):
        return None
    values = [result.elbo.value for result in held_out_passes(model, images, config, device) if result.elbo is not None]
    elbo = mean_error(torch.cat(values).cpu())
    gain = importance_weighted_gain(model, images, config, device).gain
    error = None if elbo.error is None or gain.error is None else math.hypot(elbo.error, gain.error)
    return Likelihood(elbo.mean, elbo.error, elbo.mean + gain.mean, error, SAMPLES)


def measure_health(
    model: EmbeddingModel, means: NDArray[np.float32], images: Pixels, config: Config, device: torch.device
) -> Health:
    """How much of the latent space is in use, and what looks wrong.

    Args:
        model: The model.
        means: Embeddings of the images, shape [N, D].
        images: Not trained on.
        config: The run's.
        device: Where to compute.
    """
    figures: dict[str, float | None] = {**held_out_metrics(model, images, config, device)}
    correlations = _correlations(model)
    kl = None
    if isinstance(model, GenerativeModel) and not model.objective.flat:
        kl = _kl_per_dimension(model, images, device)
    else:
        figures["held_out_kl"] = None  # under a flat p(y) it is no divergence, and may be anything
    codes = torch.from_numpy(means)
    if not isinstance(model, GenerativeModel):
        codes = in_own_units(codes)
    active, rank = active_units(codes), rank_me(codes)
    figures |= {"latent_dim": model.latent_dim, "active_units": active, "rank_me": rank}
    scattered = images[:_SCATTERED_IMAGES]
    views = _encode_views(model, scattered, config, _SCATTERED_VIEWS, 2, device)
    sigma_x, virial_ratio = figures.get("held_out_sigma_x"), figures.get("held_out_virial_ratio")
    return Health(
        active_units=active,
        rank_me=rank,
        lidar=lidar(views.mean) if len(scattered) > 1 else None,
        kl_per_dimension=kl,
        rho=None if correlations is None else tuple(np.atleast_1d(correlations.cpu().numpy()).tolist()),
        sigma_x=sigma_x,
        virial_ratio=virial_ratio,
        alarms=tuple(alarms(figures)),
    )


def measure_pairs(model: EmbeddingModel, images: Pixels, config: Config, device: torch.device) -> Similarity | None:
    """Whether two views of one image are told from views of two images, and how well calibrated that is."""
    chosen = images[:_PAIRED_IMAGES]
    views = _encode_views(model, chosen, config, 2, 3, device)
    correlations = _correlations(model)
    return measure_similarity(views, None if correlations is None else correlations.cpu(), config.seed)


def _correlations(model: EmbeddingModel) -> Tensor | None:
    """ρ, a scalar or one per dimension, where the prior is a density over groups."""
    if not isinstance(model, GenerativeModel) or model.prior is None or model.prior.flat:
        return None
    return torch.as_tensor(model.prior.rho).detach()


@torch.no_grad()
def _kl_per_dimension(model: EmbeddingModel, images: Pixels, device: torch.device) -> tuple[float, ...]:
    total = torch.zeros(model.latent_dim, device=device)
    for start in range(0, len(images), _CHUNK):
        chunk = torch.from_numpy(images[start : start + _CHUNK].copy()).to(device)
        mean, log_var = _known(model.encode(to_pixels(chunk)))
        total += kl_per_dimension(mean, log_var) * len(chunk)
    return tuple((total / len(images)).tolist())


@torch.no_grad()
def _encode_views(
    model: EmbeddingModel, images: Pixels, config: Config, count: int, stream: int, device: torch.device
) -> Views:
    """Posteriors of `count` views of each image, each encoded alone, on the CPU; streams are disjoint draws."""
    settings = config.views.model_copy(update={"count": count})
    generator = generator_for(device, config.seed, "held-out", stream)
    means, log_vars = [], []
    for start in range(0, len(images), max(1, _CHUNK // count)):
        chunk = torch.from_numpy(images[start : start + max(1, _CHUNK // count)].copy()).to(device)
        posterior = model.encode(make_views(chunk, settings, generator).flatten(0, 1))
        means.append(posterior.mean.reshape(len(chunk), count, -1).cpu())
        if posterior.log_var is not None:
            log_vars.append(posterior.log_var.reshape(len(chunk), count, -1).cpu())
    return Views(torch.cat(means), torch.cat(log_vars) if log_vars else None)


def _known(posterior: Posterior) -> tuple[Tensor, Tensor]:
    if posterior.log_var is None:
        raise ValueError("expected a posterior with a variance, found a point; a discriminative model has none")
    return posterior.mean, posterior.log_var
