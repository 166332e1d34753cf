"""How probable held-out views are: the evidence lower bound, and the tighter importance-weighted bound."""

from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.images import Pixels
from training.batches import generator_for
from training.config import Config
from training.generative import GenerativeModel
from training.objectives import structured
from training.objectives.bounds import importance_weighted, log_weights, structured_log_weights
from training.objectives.prior import Prior
from training.views import make_views

__all__ = ["SAMPLES", "Gain", "MeanError", "importance_weighted_gain", "mean_error"]

SAMPLES = 64
_MOST_GROUPS = 1_000
_DECODED_BYTES = 32 << 20
"""Of the pixels that are decoded at once, over all samples of a group at least."""


@dataclass(frozen=True)
class MeanError:
    """A mean and its standard error, which one value alone does not have."""

    mean: float
    error: float | None


@dataclass(frozen=True)
class Gain:
    """Two bounds from the same samples, in nats per view.

    Attributes:
        elbo: The mean of the log weights.
        gain: How much higher the importance-weighted bound is.
    """

    elbo: MeanError
    gain: MeanError


def mean_error(values: Tensor) -> MeanError:
    """The mean of independent values, and its standard error; shape [N], N ≥ 1."""
    error = float(values.double().std() / len(values) ** 0.5) if len(values) > 1 else None
    return MeanError(float(values.double().mean()), error)


@torch.no_grad()
def importance_weighted_gain(
    model: GenerativeModel, images: Pixels, config: Config, device: torch.device, samples: int = SAMPLES
) -> Gain:
    """How much tighter than the ELBO the importance-weighted bound is, on views of images that were not trained on.

        (1/J) E [ log (1/K) Σ_k w_k − (1/K) Σ_k log w_k ]

    The same samples serve both bounds, which makes their difference, never negative, far more certain than either.
    The weights are of groups, whose views depend on each other; of single views in a model that has them independent.

    Args:
        model: On `device`, in evaluation mode.
        images: uint8 of shape [N, H, W, C]; at most the first 1,000 are used.
        config: The run's, for its views.
        device: Where to compute.
        samples: K; the gain is 0 at 1, and the whole gap to log p(x_1..x_J) in the limit.

    Source: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519.
    """
    images, count = images[:_MOST_GROUPS], config.views.count
    size = max(1, _DECODED_BYTES // (4 * samples * count * images[0].size))
    generator = generator_for(device, config.seed, "held-out", 1)
    elbos, gains = [], []
    for start in range(0, len(images), size):
        chunk = torch.from_numpy(images[start : start + size].copy()).to(device)
        views = make_views(chunk, config.views, generator)
        if model.prior is None:
            views = views.flatten(0, 1)[:, None]
        weights = _log_weights(model, views, samples, generator).double()
        elbos.append(weights.mean(0).reshape(len(chunk), -1).sum(1) / count)
        gains.append(importance_weighted(weights).reshape(len(chunk), -1).sum(1) / count - elbos[-1])
    return Gain(mean_error(torch.cat(elbos)), mean_error(torch.cat(gains)))


def _log_weights(model: GenerativeModel, views: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """The log weight of every group, shape [K, B]; all samples go through the decoder as one batch."""
    groups, count = views.shape[:2]
    outputs = model.outputs(views.flatten(0, 1)).reshape(groups, count, -1)  # messages, if the posterior is structured
    first, second = outputs.chunk(2, -1)
    noise = model.draw_noise(samples * groups, count, generator).reshape(samples, groups, -1, model.latent_dim)
    prior = model.prior or Prior()  # of one view, whatever ρ is: N(0, I)
    in_structure = model.objective.posterior == "structured"
    latents = structured.sample(first, second, prior, noise) if in_structure else first + (0.5 * second).exp() * noise
    repeated = views.expand(samples, *views.shape).flatten(0, 1)
    likelihood = model.log_likelihood(repeated, latents.flatten(0, 1)).reshape(samples, groups, count)
    weights = structured_log_weights if in_structure else log_weights
    return weights(likelihood, latents, first, second, prior)
