"""What every model is, whatever its objective: an encoder, and what one pass over a batch of views gives.

The two kinds are `training.generative` and `training.discriminative`; they know nothing of data, optimisers or files.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.config import Config
from training.networks import Shape, make_encoder
from training.objectives.simvae import Elbo

__all__ = ["EmbeddingModel", "Pass", "Posterior"]


@dataclass  # not frozen, nor is Pass: Fabric rebuilds what a module's forward returns
class Posterior:
    """q(z | x) = N(mean, diag exp(log_var)); both at least float32, of shape [..., D].

    A discriminative model gives a point: its `log_var` is None.
    """

    mean: Tensor
    log_var: Tensor | None


@dataclass
class Pass:
    """One pass over a batch of B groups of J views.

    Attributes:
        loss: What training minimises, the mean over groups; a scalar.
        posterior: Of every view on its own, shape [B, J, D].
        figures: Scalars worth following, by name; the same names in every pass of one model.
        elbo: The bound, per group; None for a discriminative model, and so is `squared_error`.
        squared_error: Of the reconstructions, per pixel in [0, 1] units, per group, shape [B].
    """

    loss: Tensor
    posterior: Posterior
    figures: dict[str, Tensor] = field(default_factory=dict)
    elbo: Elbo | None = None
    squared_error: Tensor | None = None


class EmbeddingModel(nn.Module, ABC):
    """An encoder and the objective that trains it.

    Args:
        config: Network, objective.
        shape: Height, width and channels of an image.
        outputs: Numbers per image that the encoder gives.
    """

    def __init__(self, config: Config, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.objective = config.objective
        self.shape = shape
        self.latent_dim = config.network.latent_dim
        self.encoder = make_encoder(config.network, shape, outputs)

    @abstractmethod
    def forward(self, views: Tensor, noise: Tensor) -> Pass:
        """One pass.

        Args:
            views: Pixels in [0, 1], shape [B, J, C, H, W].
            noise: What `draw_noise` gave for them.
        """

    @abstractmethod
    def draw_noise(self, groups: int, views: int, generator: torch.Generator) -> Tensor:
        """The randomness of a pass.

        Args:
            groups: B.
            views: J.
            generator: Its source.

        Returns:
            Shape [B, ...], on the generator's device; a row belongs to a group, so that processes can share a batch.
        """

    @abstractmethod
    def encode(self, images: Tensor) -> Posterior:
        """The posterior of each image on its own.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].
        """

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer of the encoder, from which the embedding is a linear map.

        Args:
            images: Pixels in [0, 1], shape [N, C, H, W].

        Returns:
            Shape [N, F].
        """
        backbone: Tensor = self.encoder[:-1](images)
        return backbone if backbone.dtype == torch.float64 else backbone.float()
