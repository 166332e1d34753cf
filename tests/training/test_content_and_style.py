"""What the objectives are for, where the truth is known: classes are content, and every view has a style of its own.

Views are x = A c + B s + noise: c is drawn around the centre of a class and shared by the views of an image, s is drawn
anew for each view and moves x further than c does. Encoders and decoders are linear, so that training reaches its end
in seconds; only the objective differs between models.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.evaluation.probes import Codes, knn_accuracy
from training.evaluation.targets import r_squared
from training.likelihoods import gaussian_log_prob
from training.objectives.prior import Prior
from training.objectives.simclr import nt_xent
from training.objectives.simvae import kl_divergence

CLASSES, PIXELS, LATENTS, SHARED = 6, 20, 5, 3
"""Three dimensions of content and two of style: five latents hold both."""
PROBED = 400
"""Labels are few: neighbours must then be found among images of other styles."""


@dataclass(frozen=True)
class Views:
    """Two views of each of N images, x [N, 2, PIXELS]; the class of each image; the style of each view [N, 2, 2]."""

    x: Tensor
    labels: Tensor
    style: Tensor


@functools.cache
def draw(count: int, seed: int, same_style: bool = False) -> Views:
    world = torch.Generator().manual_seed(0)
    content_map = torch.randn(SHARED, PIXELS, generator=world) / PIXELS**0.5
    style_map = 4 * torch.randn(LATENTS - SHARED, PIXELS, generator=world) / PIXELS**0.5
    centres = 2 * torch.randn(CLASSES, SHARED, generator=world)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    content = centres[labels] + 0.6 * torch.randn(count, SHARED, generator=generator)
    style = torch.randn(count, 2, LATENTS - SHARED, generator=generator)
    if same_style:
        style = style[:, :1].expand(-1, 2, -1)
    noise = 0.1 * torch.randn(count, 2, PIXELS, generator=generator)
    return Views((content @ content_map)[:, None] + style @ style_map + noise, labels, style)


class Linear(nn.Module):
    """A linear encoder and decoder, and one correlation per latent dimension that SimVAE learns."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(PIXELS, LATENTS), nn.Linear(LATENTS, PIXELS)
        self.log_var = nn.Parameter(torch.full((LATENTS,), -2.0))
        self.rho_logit = nn.Parameter(torch.zeros(LATENTS))
        self.log_variance = nn.Parameter(torch.zeros(()))

    @property
    def rho(self) -> Tensor:
        return 0.001 + 0.998 * self.rho_logit.sigmoid()

    def bound(self, x: Tensor, prior: Prior, generator: torch.Generator) -> Tensor:
        mean = self.encoder(x)
        log_var = self.log_var.expand_as(mean)
        latents = mean + (0.5 * log_var).exp() * torch.randn(mean.shape, generator=generator)
        shape = (*x.shape[:2], 1, 1, PIXELS)
        log_likelihood = gaussian_log_prob(
            x.reshape(shape), self.decoder(latents).reshape(shape), self.log_variance.exp()
        )
        return log_likelihood.sum(1) - kl_divergence(mean, log_var, prior)


@functools.cache
def trained(objective: str, pairs: str = "views") -> Linear:
    """Trains; `pairs` are views of one image, of different images (`wrong`), or one view twice (`still`)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Linear()
    generator = torch.Generator().manual_seed(1)
    x = draw(4_000, 1, pairs == "still").x
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(1_500):
        optimiser.param_groups[0]["lr"] = 0.02 * min(1, 2 * (1 - step / 1_500))
        batch = x[torch.randint(len(x), (256,), generator=generator)]
        if pairs == "wrong":
            batch = torch.stack((batch[:, 0], batch[:, 1].roll(1, 0)), 1)
        optimiser.zero_grad()
        loss(model, objective, batch, generator).mean().backward()
        optimiser.step()
    return model


def loss(model: Linear, objective: str, batch: Tensor, generator: torch.Generator) -> Tensor:
    if objective == "simclr":
        return nt_xent(model.encoder(batch), 0.2)
    if objective == "vae":  # every view is a group of its own
        return -model.bound(batch.flatten(0, 1)[:, None], Prior(), generator)
    return -model.bound(batch, Prior(model.rho), generator)


@torch.no_grad()
def embed(model: nn.Module, dimensions: Tensor | slice = slice(None)) -> Codes:
    train, test = draw(PROBED, 3), draw(1_000, 2)
    features = [model(part.x[:, 0])[:, dimensions].numpy() for part in (train, test)]
    return Codes(
        features[0],
        train.labels.numpy(),
        test=features[1],
        test_labels=test.labels.numpy(),
        device=torch.device("cpu"),
    )


def content(model: nn.Module, dimensions: Tensor | slice = slice(None)) -> float:
    return knn_accuracy(embed(model, dimensions), cosine=False)


def style(model: nn.Module) -> float:
    """R² of the style of a view, by least squares on its embedding."""
    codes = embed(model)
    known, asked = (np.concatenate((x, np.ones((len(x), 1))), 1) for x in (codes.train.numpy(), codes.test.numpy()))
    weights = np.linalg.lstsq(known, draw(PROBED, 3).style[:, 0].numpy(), rcond=None)[0]
    return r_squared(draw(1_000, 2).style[:, 0].numpy().ravel(), (asked @ weights).ravel())


def most_shared(model: Linear) -> Tensor:
    """The latent dimensions of the largest learned correlation."""
    return model.rho.argsort(descending=True)[:SHARED]


def supervised() -> float:
    """Accuracy of nearest neighbours among true contents: the most that any embedding can reach."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(PIXELS, LATENTS)
    x, labels = draw(4_000, 1).x.flatten(0, 1), draw(4_000, 1).labels.repeat_interleave(2)
    head = nn.Linear(LATENTS, CLASSES)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
    for _ in range(500):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(model(x)), labels).backward()
        optimiser.step()
    return content(model)


def test_the_most_correlated_dimensions_hold_content_that_a_vae_cannot_tell_from_style() -> None:
    simvae, vae = trained("simvae"), trained("vae")
    assert content(simvae.encoder, most_shared(simvae)) > content(vae.encoder) + 0.03


def test_simvae_keeps_the_style_that_a_contrast_throws_away() -> None:
    assert style(trained("simvae").encoder) > 0.95
    assert style(trained("simclr").encoder) < 0.5


def test_learned_correlations_part_content_from_style() -> None:
    rho = trained("simvae").rho.detach().sort(descending=True).values
    assert rho[SHARED - 1] > 0.8
    assert rho[SHARED] < 0.2


def test_views_of_different_images_in_one_group_destroy_what_is_shared() -> None:
    right, wrong = trained("simvae"), trained("simvae", "wrong")
    assert wrong.rho.max() < 0.2
    assert content(wrong.encoder, most_shared(wrong)) < content(right.encoder, most_shared(right)) - 0.2


def test_without_augmentation_simvae_holds_what_a_vae_holds() -> None:
    assert content(trained("simvae", "still").encoder) == pytest.approx(
        content(trained("vae", "still").encoder), abs=0.06
    )


def test_content_lies_between_the_untrained_floor_and_the_supervised_ceiling() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        untrained = nn.Linear(PIXELS, LATENTS)
    simvae = trained("simvae")
    found = content(simvae.encoder, most_shared(simvae))
    assert content(untrained) + 0.1 < found
    assert content(nn.Identity()) < found
    assert found <= supervised() + 0.02
