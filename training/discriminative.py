"""Models that tell images apart and draw none: SimCLR and VICReg, with a projection head of their own.

The embedding is what the encoder gives, before the head: the head is thrown away after training, as is usual.
"""

import itertools

import torch
from torch import Tensor, nn

from training.config import Config
from training.distributed import gather
from training.model import EmbeddingModel, Pass, Posterior
from training.networks import Shape
from training.objectives.simclr import nt_xent
from training.objectives.vicreg import vicreg

__all__ = ["DiscriminativeModel"]


class DiscriminativeModel(EmbeddingModel):
    """Encoder and projection head.

    Args:
        config: Network, objective.
        shape: Height, width and channels of an image.
    """

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape, outputs=config.network.latent_dim)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((self.latent_dim, *self.objective.projection)):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.head = nn.Sequential(*layers[:-2])

    def draw_noise(self, groups: int, views: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """None is needed; shape [B, 0]."""
        return torch.empty(groups, 0, device=generator.device)

    def forward(self, views: Tensor, noise: Tensor) -> Pass:  # noqa: ARG002
        """Encodes the views and compares their projections with those of the whole batch.

        While training in several processes the batch is gathered before the head, so that its normalisation and the
        loss see what one process would.

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            noise: Not used.
        """
        groups, count = views.shape[:2]
        mean = self.encode(views.flatten(0, 1)).mean
        codes = mean.reshape(groups, count, -1)
        everyone = gather(codes) if self.training else codes
        projections = self.head(everyone.flatten(0, 1)).float().reshape(*everyone.shape[:2], -1)
        centred = mean.detach() - mean.detach().mean(0)
        # in the embedding's own units: the head normalises, so its scale means nothing
        deviation = (centred.square().mean() / mean.detach().square().mean().clamp(min=1e-30)).sqrt()
        if self.objective.name == "simclr":
            loss = nt_xent(projections, self.objective.temperature).mean()
            return Pass(loss, Posterior(codes, None), {"embedding_std": deviation})
        config = self.objective
        terms = vicreg(projections, config.invariance, config.variance, config.covariance)
        parts = {"invariance": terms.invariance, "variance": terms.variance, "covariance": terms.covariance}
        figures = {name: value.detach() for name, value in parts.items()}
        return Pass(terms.loss, Posterior(codes, None), {"embedding_std": deviation, **figures})

    def encode(self, images: Tensor) -> Posterior:
        """The embedding of each image, a point.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].
        """
        outputs = self.encoder(images)
        return Posterior(outputs if outputs.dtype == torch.float64 else outputs.float(), None)
