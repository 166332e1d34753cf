"""Models that bound the likelihood of pixels: SimVAE, and the VAE, β-VAE and CR-VAE it is compared with.

They share encoder, decoder and likelihood, and differ in the prior of a group's latents and in what is added to it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.collapse import uninformed_kl
from training.config import Config
from training.likelihoods import bernoulli_log_prob, gaussian_log_prob, optimal_variance
from training.model import EmbeddingModel, Pass, Posterior
from training.networks import Shape, make_decoder
from training.objectives import structured
from training.objectives.cr_vae import consistency
from training.objectives.prior import Prior
from training.objectives.simvae import Elbo, kl_divergence, virial_ratio
from training.objectives.vae import kl_to_standard_normal

__all__ = ["GenerativeModel"]

_LOG_VAR_RANGE = (-20.0, 10.0)
"""Where log posterior variances are held, so that a wild step cannot overflow; far outside what training reaches."""
_RHO_RANGE = (0.01, 0.999)
"""Where a learned correlation is held: at 0 and 1 the prior is no density."""
_PACE = 10
"""How many times faster than a weight a learned correlation moves: Adam's steps are of one size, its way is longer."""
_START_RHO, _START_SIGMA_X = 0.87, 0.1
_KEPT = 0.99
"""The share of the pixel variance seen so far that one batch leaves, when the variance is the optimal one."""


@dataclass(frozen=True)
class Inference:
    """What is inferred from a batch of groups.

    Attributes:
        mean: Of the posterior of every view, shape [B, J, D].
        log_var: Its log variance, likewise.
        latents: A sample of the group's latents, likewise.
        kl: Of the group's posterior to its prior, in nats per group, shape [B].
        virial_ratio: 1 when the scale of the latents has converged; a scalar.
    """

    mean: Tensor
    log_var: Tensor
    latents: Tensor
    kl: Tensor
    virial_ratio: Tensor


class GenerativeModel(EmbeddingModel):
    """Encoder, decoder, prior and likelihood.

    Args:
        config: Network, objective.
        shape: Height, width and channels of an image.
    """

    batch_variance: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape, outputs=2 * config.network.latent_dim)
        self.decoder = make_decoder(config.network, shape)
        if isinstance(self.objective.rho, str):
            low, high = _RHO_RANGE
            start = (_START_RHO - low) / (high - low)
            size = () if self.objective.rho == "learned" else (self.latent_dim,)
            self.rho_logit = nn.Parameter(torch.full(size, math.log(start / (1 - start)) / _PACE))
        if self._sigma_x == "learned":
            self.log_sigma_x = nn.Parameter(torch.tensor(math.log(_START_SIGMA_X)))
        if self._sigma_x == "optimal":
            self.register_buffer("batch_variance", torch.tensor(_START_SIGMA_X**2))

    @property
    def prior(self) -> Prior | None:
        """The prior of a group of views; None for the objectives that treat every view alone."""
        if self.objective.name != "simvae":
            return None
        if not isinstance(self.objective.rho, str):
            return Prior(self.objective.rho, self.objective.flat)
        low, high = _RHO_RANGE
        return Prior(low + (high - low) * (_PACE * self.rho_logit).sigmoid())

    @property
    def pixel_variance(self) -> float | Tensor:
        """σ_x² of the Gaussian likelihood, in squared pixel units; where it is learned, as it stands."""
        if self._sigma_x == "learned":
            return (2 * self.log_sigma_x).exp()
        return self.batch_variance if self._sigma_x == "optimal" else float(self._sigma_x) ** 2

    @property
    def _sigma_x(self) -> float | str:
        """What the configuration says, and 1 where the likelihood has none."""
        return self.objective.sigma_x if self.objective.likelihood == "gaussian" else 1.0

    def draw_noise(self, groups: int, views: int, generator: torch.Generator) -> Tensor:
        """Standard normal; shape [B, J, D], or [B, J + 1, D] for a structured posterior, whose content is drawn too."""
        rows = views + (self.objective.posterior == "structured")
        return torch.randn(groups, rows, self.latent_dim, generator=generator, device=generator.device)

    def forward(self, views: Tensor, noise: Tensor) -> Pass:
        """Encodes the views, samples their latents, reconstructs them and bounds log p(x_1..x_J).

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            noise: From `draw_noise`.
        """
        inferred = self.infer(views, noise)
        logits = self._logits(views, inferred.latents)
        pixels = logits.sigmoid()
        variance = self._variance_of(views, pixels)
        log_likelihood = self._log_likelihood(views, logits, pixels, variance).mean(1)
        bound = Elbo(log_likelihood, inferred.kl / views.shape[1], self.objective.beta)
        loss = -bound.objective.mean()
        if self.objective.name == "cr-vae":
            apart = consistency(inferred.mean, inferred.log_var) / views.shape[1]
            loss = loss + self.objective.consistency * apart.mean()
        squared_error = (views - pixels.detach()).square().mean((1, 2, 3, 4))
        posterior = Posterior(inferred.mean, inferred.log_var)
        return Pass(loss, posterior, self._figures(inferred, variance), bound, squared_error)

    def infer(self, views: Tensor, noise: Tensor) -> Inference:
        """The posterior of each group, drawn from.

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            noise: From `draw_noise`.
        """
        groups, count = views.shape[:2]
        outputs = self.outputs(views.flatten(0, 1)).reshape(groups, count, -1)
        mean, log_var = outputs.chunk(2, -1)
        prior = self.prior
        if prior is not None and self.objective.posterior == "structured":
            messages = (mean, log_var, prior)
            latents, kl = structured.sample(*messages, noise), structured.kl(*messages)
            return Inference(*structured.marginals(*messages), latents, kl, structured.virial_ratio(*messages))
        latents = mean + (0.5 * log_var).exp() * noise
        if prior is not None:
            kl, virial = kl_divergence(mean, log_var, prior), virial_ratio(mean, log_var, prior)
            return Inference(mean, log_var, latents, kl, virial)
        alone = (mean.flatten(0, 1)[:, None], log_var.flatten(0, 1)[:, None])  # every view is a group of its own
        return Inference(mean, log_var, latents, kl_to_standard_normal(mean, log_var), virial_ratio(*alone, Prior()))

    def encode(self, images: Tensor) -> Posterior:
        """The posterior of each image on its own.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].
        """
        return Posterior(*self.posterior(images))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each image's posterior, shape [N, D] each; images as in `encode`."""
        mean, log_var = self.outputs(images).chunk(2, -1)
        return structured.single(mean, log_var) if self.objective.posterior == "structured" else (mean, log_var)

    def outputs(self, images: Tensor) -> Tensor:
        """What the encoder says of each image, in float32 at least, shape [N, 2D]: means, then held log variances.

        They are the posterior's of an image alone, or, where the posterior is structured, a message's to its group.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].
        """
        outputs = self.encoder(images)
        mean, log_var = (outputs if outputs.dtype == torch.float64 else outputs.float()).chunk(2, -1)
        return torch.cat((mean, log_var.clamp(*_LOG_VAR_RANGE)), -1)

    def decode(self, latents: Tensor) -> Tensor:
        """The mean image of p(x | z), in [0, 1].

        Args:
            latents: Shape [N, D].

        Returns:
            Shape [N, C, H, W].
        """
        logits: Tensor = self.decoder(latents)
        return logits.sigmoid()

    def log_likelihood(self, views: Tensor, latents: Tensor) -> Tensor:
        """Log p(x_j | z_j), in nats.

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            latents: Shape [B, J, D].

        Returns:
            Shape [B, J].
        """
        logits = self._logits(views, latents)
        return self._log_likelihood(views, logits, logits.sigmoid(), self.pixel_variance)

    def _log_likelihood(self, views: Tensor, logits: Tensor, pixels: Tensor, variance: float | Tensor) -> Tensor:
        if self.objective.likelihood == "bernoulli":
            return bernoulli_log_prob(views, logits)
        return gaussian_log_prob(views, pixels, variance)

    def _variance_of(self, views: Tensor, pixels: Tensor) -> float | Tensor:
        """σ_x² for a batch; the optimal one is the batch's own while training, and remembered for later."""
        if self._sigma_x != "optimal" or not self.training:
            return self.pixel_variance
        variance = optimal_variance(views, pixels)
        self.batch_variance.lerp_(variance.to(self.batch_variance.dtype), 1 - _KEPT)
        return variance

    def _logits(self, views: Tensor, latents: Tensor) -> Tensor:
        """The decoder's output for latents [B, J, D], of the views' shape."""
        logits: Tensor = self.decoder(latents.flatten(0, 1))
        return logits.to(latents.dtype).reshape(views.shape)

    def _figures(self, inferred: Inference, variance: float | Tensor) -> dict[str, Tensor]:
        figures, prior, device = {"virial_ratio": inferred.virial_ratio}, self.prior, inferred.mean.device
        if prior is not None:
            rho = prior.correlations(inferred.mean)
            figures["rho"] = rho.mean()
            if self.objective.posterior == "independent" and not prior.flat:
                figures["kl_floor"] = uninformed_kl(rho, inferred.mean.shape[1])
        if self.objective.likelihood == "gaussian":
            figures["sigma_x"] = torch.as_tensor(variance, device=device).sqrt()
        return {name: value.detach() for name, value in figures.items()}
