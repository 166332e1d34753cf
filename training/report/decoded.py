"""Pictures that only a decoder can draw: reconstructions, samples, traversals and interpolations.

Images are uint8 of shape [N, H, W, C] and were held out of training; latents are float32 of shape [N, D].
"""

import numpy as np
import torch
from numpy.typing import NDArray

from service.engine.images import Pixels
from training.generative import GenerativeModel
from training.objectives.prior import Prior
from training.report.grids import Tile, draw_grid
from training.report.style import Picture
from training.restore import decode_latents

__all__ = ["draw_contents", "interpolations", "reconstructions", "samples", "traversals", "walk"]

Latents = NDArray[np.float32]

_COLUMNS = 10
_CONTENTS = 6
_TRAVERSED = 8
_PAIRS = 5
_DEVIATIONS = (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2)


def reconstructions(model: GenerativeModel, images: Pixels, means: Latents, device: torch.device) -> Picture:
    """Held-out images above what the model makes of them.

    Args:
        model: On `device`.
        images: The first 20 are shown.
        means: Their posterior means.
        device: Where to compute.
    """
    count = min(len(images), 2 * _COLUMNS)
    rebuilt = decode_latents(model, means[:count], device)
    rows: list[list[Tile | None]] = []
    for start in range(0, count, _COLUMNS):
        part = slice(start, min(start + _COLUMNS, count))
        rows += [list(images[part]), list(rebuilt[part])]
    return Picture(
        "reconstructions",
        "Reconstructions",
        "Each image above what the decoder draws from its embedding: what is lost between the two, the embedding does "
        "not hold.",
        f"{count} held-out images, each above its reconstruction.",
        draw_grid(rows, ("image", "model") * (len(rows) // 2)),
    )


def samples(model: GenerativeModel, means: Latents, seed: int, device: torch.device) -> Picture:
    """Images decoded from the prior: each row one content y, the columns views z ~ N(y, σ² I) of it.

    A flat p(y) cannot be drawn from: the posterior means of images stand in for its contents. A model that treats
    every view alone has no content: each of its samples is drawn from N(0, I).

    Args:
        model: On `device`.
        means: Posterior means of held-out images; the first 6 are used, under a flat p(y) only.
        seed: Of the draw.
        device: Where to compute.
    """
    prior, dim = model.prior, model.latent_dim
    latents = draw_contents(prior, dim, np.random.default_rng(seed), means[:_CONTENTS], columns=_COLUMNS)
    drawn = decode_latents(model, latents.reshape(-1, dim), device)
    rows = [list(row) for row in drawn.reshape(*latents.shape[:2], *drawn.shape[1:])]
    if prior is None:
        reading = "Drawn from N(0, I) and decoded, each alone: what the model believes images look like."
        return Picture("samples", "Samples from the prior", reading, "Images drawn from the prior.", draw_grid(rows))
    return Picture(
        "samples",
        "Samples from the prior",
        "Each row is one content, its columns are views of it: along a row the thing should stay and its style vary.",
        f"{len(rows)} rows of {_COLUMNS} images drawn from the prior, one content per row.",
        draw_grid(rows, [f"content {row + 1}" for row in range(len(rows))]),
    )


def draw_contents(
    prior: Prior | None, dim: int, random: np.random.Generator, means: Latents, *, rows: int = _CONTENTS, columns: int
) -> Latents:
    """Draws contents y ~ N(0, τ² I) and latents z ~ N(y, σ² I) of each, every dimension with a ρ of its own or not.

    Args:
        prior: That of the model; None stands for independent latents, z ~ N(0, I).
        dim: D.
        random: Source of randomness.
        means: Stand for the contents under a flat p(y), shape [R, D].
        rows: Contents R, where they are drawn.
        columns: Latents of each, C.

    Returns:
        Shape [R, C, D].
    """
    rho = np.zeros(dim) if prior is None else np.broadcast_to(torch.as_tensor(prior.rho).detach().cpu().numpy(), dim)
    if prior is not None and prior.flat:
        contents = means.astype(np.float64)
    else:
        contents = np.sqrt(rho) * random.normal(size=(rows, dim))
    noise = random.normal(size=(len(contents), columns, dim))
    return np.asarray(contents[:, None] + np.sqrt(1 - rho) * noise, np.float32)


def traversals(
    model: GenerativeModel, images: Pixels, means: Latents, importance: NDArray[np.float64], device: torch.device
) -> Picture:
    """One image decoded again and again while one latent dimension moves through its range.

    Args:
        model: On `device`.
        images: The first one is the start.
        means: Posterior means of held-out images, which also say how far each dimension ranges.
        importance: Which dimensions come first, the highest; shape [D].
        device: Where to compute.
    """
    chosen = np.argsort(-importance, kind="stable")[:_TRAVERSED]
    centre, deviation = means.mean(0), means.std(0)
    latents = np.tile(means[0], (len(chosen), len(_DEVIATIONS), 1))
    for row, dimension in enumerate(chosen):
        latents[row, :, dimension] = centre[dimension] + deviation[dimension] * np.array(_DEVIATIONS)
    drawn = decode_latents(model, latents.reshape(-1, latents.shape[-1]), device)
    drawn = drawn.reshape(*latents.shape[:2], *drawn.shape[1:])
    rows: list[list[Tile | None]] = [[images[0], *row] for row in drawn]
    return Picture(
        "traversals",
        "Latent traversals",
        "Each row changes one dimension of the first column's embedding, from 2 standard deviations below the mean of "
        "all images to 2 above, and leaves the others: what changes along a row is what that dimension means.",
        f"The {len(rows)} dimensions that carry most, each moved through {len(_DEVIATIONS)} values.",
        draw_grid(rows, [f"z {index + 1}" for index in chosen], ["image", *(f"{value:+g}" for value in _DEVIATIONS)]),
    )


def interpolations(model: GenerativeModel, images: Pixels, means: Latents, device: torch.device) -> Picture:
    """Walks from the embedding of one held-out image to that of another.

    Args:
        model: On `device`.
        images: Consecutive ones are paired, five pairs of the first ten.
        means: Their posterior means.
        device: Where to compute.
    """
    steps, pairs = _COLUMNS - 2, min(_PAIRS, len(images) // 2)
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    walks = [walk(means[2 * pair], means[2 * pair + 1], share) for pair in range(pairs)]
    drawn = decode_latents(model, np.concatenate(walks), device)
    drawn = drawn.reshape(pairs, steps, *drawn.shape[1:])
    rows: list[list[Tile | None]] = [[images[2 * i], *walk, images[2 * i + 1]] for i, walk in enumerate(drawn)]
    return Picture(
        "interpolations",
        "From one image to another",
        "The first and last columns are held-out images, between them the decoder draws the way from one embedding to "
        "the other: it should look like images all the way.",
        f"{pairs} pairs of held-out images with {steps} decoded steps between them.",
        draw_grid(rows),
    )


def walk(start: Latents, end: Latents, share: Latents) -> Latents:
    """A walk that turns the direction evenly and changes the length evenly.

    The straight line passes nearer to the origin than latents in many dimensions ever lie, and decodes to a blur.

    Args:
        start: Shape [D].
        end: Shape [D].
        share: From 0 to 1, shape [S, 1].

    Returns:
        Shape [S, D].

    Source: White, "Sampling Generative Networks", arXiv 1609.04468, section 2.1.
    """
    first, last = float(np.linalg.norm(start)), float(np.linalg.norm(end))
    cosine = float(start @ end) / max(first * last, 1e-12)
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    if not first * last or np.sin(angle) < 1e-4:  # no direction, the same or the opposite one: no way is the shortest
        return np.asarray((1 - share) * start + share * end, np.float32)
    direction = (np.sin((1 - share) * angle) * start / first + np.sin(share * angle) * end / last) / np.sin(angle)
    return np.asarray(direction * ((1 - share) * first + share * last), np.float32)
