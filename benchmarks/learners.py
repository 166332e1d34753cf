"""Two trainings that a benchmark can halt between steps: this project's and the released recipe's."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from released_recipe import VIEWS_PER_STEP, ReleasedTraining
from torch import Tensor

from service.engine.images import Pixels
from training.batches import epoch_order
from training.build import make_fabric
from training.config import Config
from training.datasets.image_set import Source
from training.health import to_pixels
from training.restore import encode_images
from training.run_directory import RunDirectory
from training.trainer import Trainer

__all__ = ["Learner", "Ours", "Released", "clock", "set_aside"]

_SET_ASIDE = 6  # one in so many
_CHUNK = 1_000


class Learner(Protocol):
    """A training that can be stopped at any step and asked for embeddings.

    Attributes:
        views_per_step: Of every step.
        steps: The most it may take.
    """

    views_per_step: int
    steps: int

    def step(self) -> None:
        """One step, whole: views, forward, backward, optimiser, and whatever else training does."""

    def embed(self, images: Pixels) -> NDArray[np.float32]:
        """Posterior means of clean images, shape [N, D]."""


class Ours:
    """The trainer behind `training.trainer.train`, without checkpoints.

    Args:
        config: The run's, its schedule included.
        source: What to learn from.
        device: As `make_fabric` takes it.
        folder: Where a run directory could be; nothing is written.
    """

    def __init__(self, config: Config, source: Source, device: str, folder: Path) -> None:
        self.trainer = Trainer(RunDirectory(folder), config, source, make_fabric(device, config.optimiser.precision))
        self.device = self.trainer.fabric.device
        self.views_per_step = self.trainer.batch * config.views.count
        self.steps = self.trainer.total
        self._batches = self._order()

    def _order(self) -> Iterator[Tensor]:
        config = self.trainer.config
        for epoch in range(config.epochs):
            yield from epoch_order(len(self.trainer.source.train), self.trainer.batch, config.seed, epoch)

    def next_batch(self) -> Tensor:
        """Indices of the images of the next step."""
        return next(self._batches)

    def step(self) -> None:
        """As in training: metrics and averaged weights included."""
        self.trainer.optimise(self.next_batch())

    def embed(self, images: Pixels) -> NDArray[np.float32]:
        """With the averaged weights, as evaluation and export do."""
        return encode_images(self.trainer.averaged(), images, self.device)


class Released:
    """The released recipe.

    Args:
        source: What to learn from.
        device: Where to compute.
        steps: The most it may take.
    """

    def __init__(self, source: Source, device: torch.device, steps: int = 1 << 30) -> None:
        self.training = ReleasedTraining(source.train.images, device)
        self.views_per_step, self.steps = VIEWS_PER_STEP, steps

    def step(self) -> None:
        """Waits for the loader, then computes."""
        self.training.step()

    @torch.no_grad()
    def embed(self, images: Pixels) -> NDArray[np.float32]:
        """With the weights as they are."""
        chunks = (torch.from_numpy(images[i : i + _CHUNK].copy()) for i in range(0, len(images), _CHUNK))
        means = [self.training.model.encode(to_pixels(chunk.to(self.training.device)))[0] for chunk in chunks]
        return torch.cat(means).cpu().numpy()

    def close(self) -> None:
        """Ends the loader's workers."""
        self.training.close()


def set_aside(source: Source) -> Source:
    """The training images without their last sixth, which takes the place of the test images."""
    end = len(source.train) - len(source.train) // _SET_ASIDE
    return replace(source, train=source.train.part(slice(end)), test=source.train.part(slice(end, None)))


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, once the device has done what it was asked."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
