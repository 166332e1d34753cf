"""Pictures of a run: its curves, reconstructions of images it never saw, and samples from its prior."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from service.engine.images import Pixels
from training.restore import TrainedRun, decode_latents, encode_images

__all__ = ["plot_curves", "plot_reconstructions", "plot_samples"]

_COLUMNS = 12
_CONTENTS = 6


def plot_curves(rows: list[dict[str, float]], path: Path) -> None:
    """The bound and its parts, the reconstruction error and the active units, by epoch.

    Args:
        rows: Lines of `metrics.jsonl`.
        path: The PNG to write.
    """
    panels = (
        ("ELBO, nats per view", (("elbo", "training"), ("held_out_elbo", "held out"))),
        ("KL, nats per view", (("kl", "training"),)),
        ("squared error per pixel", (("squared_error", "training"), ("held_out_squared_error", "held out"))),
        ("active units", (("active_units", "held out"),)),
    )
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for key, label in series:
            axes.plot(epochs, [row[key] for row in rows], label=label, marker="o", markersize=3)
        if all(row[key] >= 0 for key, _ in series for row in rows):
            axes.set_ylim(bottom=0)  # a flat line must look flat, a small change small
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def plot_reconstructions(trained: TrainedRun, images: Pixels, device: torch.device, path: Path) -> None:
    """Held-out images above what the model makes of them.

    Args:
        trained: The run.
        images: uint8 of shape [N, H, W, C]; the first 24 are shown.
        device: Where to compute.
        path: The PNG to write.
    """
    shown = np.asarray(images[: 2 * _COLUMNS])
    rebuilt = decode_latents(trained.model, encode_images(trained.model, shown, device), device)
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(shown), _COLUMNS):
        rows.append(shown[start : start + _COLUMNS].astype(np.float32) / np.float32(255))
        rows.append(rebuilt[start : start + _COLUMNS])
    _plot_grid(rows, ("image", "model") * (len(rows) // 2), path)


def plot_samples(trained: TrainedRun, images: Pixels, device: torch.device, path: Path) -> None:
    """Images decoded from the prior: each row one content y, the columns views z ~ N(y, σ² I) of it.

    A flat p(y) cannot be drawn from: the posterior means of images stand in for its contents.

    Args:
        trained: The run.
        images: uint8 of shape [N, H, W, C]; the first 6 are used, under a flat p(y) only.
        device: Where to compute.
        path: The PNG to write.
    """
    random, prior = np.random.default_rng(trained.record.config.seed), trained.model.prior
    if prior.flat:
        contents = encode_images(trained.model, images[:_CONTENTS], device).astype(np.float64)
    else:
        contents = random.normal(scale=prior.rho**0.5, size=(_CONTENTS, trained.model.latent_dim))
    rows, dim = contents.shape
    latents = contents[:, None] + random.normal(scale=prior.sigma2**0.5, size=(rows, _COLUMNS, dim))
    drawn = decode_latents(trained.model, latents.reshape(-1, dim).astype(np.float32), device)
    _plot_grid(list(drawn.reshape(rows, _COLUMNS, *drawn.shape[1:])), [f"y {row + 1}" for row in range(rows)], path)


def _plot_grid(rows: list[NDArray[np.float32]], names: list[str] | tuple[str, ...], path: Path) -> None:
    figure = Figure(figsize=(_COLUMNS * 0.85, len(rows) * 0.85), layout="constrained")
    lines = figure.subplots(len(rows), _COLUMNS, squeeze=False)
    for line, images, name in zip(lines, rows, names, strict=True):
        for axes in line:
            axes.axis("off")
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=120)
