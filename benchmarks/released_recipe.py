"""The released SimVAE recipe, rebuilt from a description of what it does, to be measured against.

The authors' repository has no licence, so nothing here is taken from it. What is kept, because it decides speed and
result: the MLP of the paper with 10 latent dimensions, Adam in float32 with its released constants, 64 images × 2
views per step, every view cropped, mirrored and converted on its own by Pillow in four loader workers, and the loss as
it was coded, slips included. Where a detail costs time and is unknown, the cheaper choice is made: the comparison
errs in the recipe's favour.

Source: Bizeul, Schölkopf, Allen, "A Probabilistic Model behind Self-Supervised Learning", arXiv 2402.01399.
"""

import itertools
import math
import random
from collections.abc import Generator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from service.engine.images import Pixels

__all__ = ["LATENT_DIM", "VIEWS_PER_STEP", "OneByOneViews", "ReleasedMlp", "ReleasedTraining", "released_loss"]

LATENT_DIM = 10
_IMAGES, _VIEWS = 64, 2
VIEWS_PER_STEP = _IMAGES * _VIEWS
_WORKERS = 4
_WIDTHS = (784, 2000, 500, 500)
_CROP_AREA, _CROP_ASPECT = (0.4, 1.0), (0.75, 1.3)
_TRIES = 10
_FLIP = 0.5
_SIGMA2 = 0.15
_RECONSTRUCTION_WEIGHT = math.exp(4.6)  # 1/σ_x² of a Gaussian, 99.5, on a cross-entropy


class ReleasedMlp(nn.Module):
    """784-2000-500-500-20 and its mirror image, with ReLU, and a sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), *_dense(*_WIDTHS, 2 * LATENT_DIM))
        self.decoder = nn.Sequential(*_dense(LATENT_DIM, *_WIDTHS[::-1]), nn.Sigmoid())

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, each of shape [N, 10], of pixels in [0, 1] of shape [N, 1, 28, 28]."""
        mean, log_var = self.encoder(images).chunk(2, -1)
        return mean, log_var


def released_loss(views: Tensor, reconstruction: Tensor, log_var: Tensor, latents: Tensor) -> Tensor:
    """What the released code minimises, summed over a batch of B images with J views each.

        99.5 · BCE(x, x̂) − ½ Σ 2π · log s² + Σ_j ‖z_j − z̄‖² / 2σ² + ½ ‖z̄‖²

    Two slips are kept: 2π multiplies the log variance where log 2π should be added to it, and the content is put at
    z̄ where it should be integrated out.

    Args:
        views: Pixels in [0, 1], shape [B, J, ...].
        reconstruction: Their probabilities, same shape.
        log_var: Log posterior variances, shape [B, J, D].
        latents: Samples z_j, shape [B, J, D].

    Returns:
        A scalar.
    """
    cross_entropy = functional.binary_cross_entropy(reconstruction, views, reduction="sum")
    centre = latents.mean(1, keepdim=True)
    scatter = (latents - centre).square().sum() / (2 * _SIGMA2)
    entropy = 0.5 * (2 * math.pi * log_var).sum()
    return _RECONSTRUCTION_WEIGHT * cross_entropy - entropy + scatter + 0.5 * centre.square().sum()


class OneByOneViews(Dataset[Tensor]):
    """Images with two views each, made by Pillow: random crop resized by bilinear interpolation, vertical mirror.

    Args:
        images: uint8 of shape [N, 28, 28, 1].
    """

    def __init__(self, images: Pixels) -> None:
        self._images = images[..., 0]

    def __len__(self) -> int:
        """N."""
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        """The views of one image, pixels in [0, 1], shape [2, 1, 28, 28]; randomness is Python's, seeded by worker."""
        return torch.stack([_view(Image.fromarray(self._images[index])) for _ in range(_VIEWS)])


class ReleasedTraining:
    """The recipe in motion.

    Args:
        images: uint8 of shape [N, 28, 28, 1].
        device: Where the network computes; views are always made on the CPU.
        seed: Decides weights, order, views and latent samples.
    """

    def __init__(self, images: Pixels, device: torch.device, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.model = ReleasedMlp().to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=8e-5, eps=1e-4)
        self._batches = _endless(
            DataLoader(
                OneByOneViews(images),
                batch_size=_IMAGES,
                shuffle=True,
                drop_last=True,
                num_workers=_WORKERS,
                pin_memory=device.type == "cuda",
                persistent_workers=True,
                worker_init_fn=_seed_worker,
                generator=torch.Generator().manual_seed(seed),
            )
        )

    def step(self) -> None:
        """Waits for a batch of views and takes one optimiser step."""
        views = next(self._batches).to(self.device, non_blocking=True)
        mean, log_var = self.model.encode(views.flatten(0, 1))
        latents = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        reconstruction = self.model.decoder(latents).reshape(views.shape)
        grouped = (values.reshape(*views.shape[:2], LATENT_DIM) for values in (log_var, latents))
        loss = released_loss(views, reconstruction, *grouped)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def close(self) -> None:
        """Ends the loader's workers."""
        self._batches.close()


def _endless(loader: DataLoader[Tensor]) -> Generator[Tensor]:
    while True:
        yield from loader


def _seed_worker(_worker: int) -> None:
    random.seed(torch.initial_seed())


def _view(image: Image.Image) -> Tensor:
    left, top, width, height = _crop_box(*image.size)
    view = image.crop((left, top, left + width, top + height)).resize(image.size, Image.Resampling.BILINEAR)
    if random.random() < _FLIP:  # noqa: S311  # views are no secret
        view = view.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return torch.from_numpy(np.array(view))[None].float().div_(255)


def _crop_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height in whole pixels; after ten crops that do not fit, the whole image."""
    low, high = (math.log(value) for value in _CROP_ASPECT)
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_CROP_AREA)  # noqa: S311
        aspect = math.exp(random.uniform(low, high))  # noqa: S311
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if crop_width <= width and crop_height <= height:
            left, top = random.randint(0, width - crop_width), random.randint(0, height - crop_height)  # noqa: S311
            return left, top, crop_width, crop_height
    return 0, 0, width, height


def _dense(*sizes: int) -> list[nn.Module]:
    pairs = ((nn.Linear(before, after), nn.ReLU()) for before, after in itertools.pairwise(sizes))
    return list(itertools.chain.from_iterable(pairs))[:-1]
