"""The SimVAE as a torch module: q(z | x), p(x | z) and the bound of a batch of views.

It puts networks, likelihood and objective together and knows nothing of data, optimisers or files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.config import Config
from training.likelihoods import bernoulli_log_prob, gaussian_log_prob
from training.networks import Shape, make_decoder, make_encoder
from training.objectives.simvae import Elbo, Prior, elbo

__all__ = ["Pass", "Posterior", "SimVae"]

_LOG_VAR_RANGE = (-20.0, 10.0)
"""Where log posterior variances are held, so that a wild step cannot overflow; far outside what training reaches."""


@dataclass  # not frozen, nor is Pass: Fabric rebuilds what a module's forward returns
class Posterior:
    """q(z | x) = N(mean, diag exp(log_var)); both float32, of shape [..., D]."""

    mean: Tensor
    log_var: Tensor


@dataclass
class Pass:
    """One pass over a batch of views.

    Attributes:
        elbo: The bound, per group.
        posterior: Of every view, shape [B, J, D].
        squared_error: Of the reconstructions, per pixel in [0, 1] units, per group, shape [B].
    """

    elbo: Elbo
    posterior: Posterior
    squared_error: Tensor


class SimVae(nn.Module):
    """Encoder, decoder and the bound that trains them.

    Args:
        config: Network, objective.
        shape: Height, width and channels of an image.
    """

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        self.objective = config.objective
        self.prior = Prior(config.objective.rho, config.objective.flat)
        self.shape = shape
        self.latent_dim = config.network.latent_dim
        self.encoder = make_encoder(config.network, shape)
        self.decoder = make_decoder(config.network, shape)

    def forward(self, views: Tensor, generator: torch.Generator) -> Pass:
        """Encodes every view alone, samples its latent, reconstructs it and bounds log p(x_1..x_J).

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            generator: Source of the latent samples, on the views' device.
        """
        groups, count = views.shape[:2]
        posterior = self.encode(views.flatten(0, 1))
        noise = torch.randn(posterior.mean.shape, generator=generator, device=views.device, dtype=posterior.mean.dtype)
        latents = posterior.mean + (0.5 * posterior.log_var).exp() * noise
        logits = self.decoder(latents).to(posterior.mean.dtype).reshape(views.shape)
        mean = posterior.mean.reshape(groups, count, -1)
        log_var = posterior.log_var.reshape(groups, count, -1)
        bound = elbo(self._log_likelihood(views, logits), mean, log_var, self.prior, self.objective.beta)
        squared_error = (views - logits.detach().sigmoid()).square().mean((1, 2, 3, 4))
        return Pass(bound, Posterior(mean, log_var), squared_error)

    def encode(self, images: Tensor) -> Posterior:
        """The posterior of each image on its own.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].
        """
        outputs = self.encoder(images)
        mean, log_var = (outputs if outputs.dtype == torch.float64 else outputs.float()).chunk(2, -1)
        return Posterior(mean, log_var.clamp(*_LOG_VAR_RANGE))

    def decode(self, latents: Tensor) -> Tensor:
        """The mean image of p(x | z), in [0, 1].

        Args:
            latents: Shape [N, D].

        Returns:
            Shape [N, C, H, W].
        """
        logits: Tensor = self.decoder(latents)
        return logits.sigmoid()

    def _log_likelihood(self, views: Tensor, logits: Tensor) -> Tensor:
        if self.objective.likelihood == "bernoulli":
            return bernoulli_log_prob(views, logits)
        return gaussian_log_prob(views, logits.sigmoid(), self.objective.sigma_x**2)
