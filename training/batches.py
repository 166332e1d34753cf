"""Which images a step sees, and how they reach the device.

Order and randomness are functions of the seed and the step alone: nothing has to be remembered for a run to resume
where it was, and no two purposes share a stream.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from service.engine.images import Pixels

__all__ = ["Fetch", "epoch_order", "fetcher", "generator_for", "images_per_step", "share_of", "steps_per_epoch"]

Fetch = Callable[[Tensor], Tensor]
"""Indices [B] (int64, CPU) to uint8 images [B, H, W, C] on the device."""

_RESIDENT_BYTES = 1 << 30
_LEAST_STEPS = 16
_PURPOSES = ("weights", "order", "step", "held-out")


def generator_for(
    device: torch.device, seed: int, purpose: Literal["weights", "order", "step", "held-out"], index: int = 0
) -> torch.Generator:
    """A generator whose stream depends on nothing but the arguments.

    Args:
        device: Where the draws are needed.
        seed: The run's seed.
        purpose: What the draws are for.
        index: The epoch or step.
    """
    # torch's CPU generator takes 32 bits of its seed: they must be well mixed, not merely different
    state = np.random.SeedSequence((seed, _PURPOSES.index(purpose), index)).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(state))


def images_per_step(images: int, batch: int) -> int:
    """The batch, or less for a small set, so that an epoch has at least 16 steps and a hundred of them teach something.

    Args:
        images: How many there are.
        batch: The most images of a step.
    """
    return min(batch, max(images // _LEAST_STEPS, 1))


def share_of(images: int, rank: int, processes: int) -> slice:
    """The part of a batch that one of several processes takes; groups of views are never divided.

    Args:
        images: Of the batch.
        rank: Of the process, from 0.
        processes: How many there are.

    Raises:
        ValueError: They cannot have equal parts, without which the mean of their gradients is not the batch's.
    """
    if images % processes:
        raise ValueError(
            f"expected a batch that {processes} processes can share equally, found {images} images per step; set "
            f"optimiser.batch to a multiple of views.count × {processes}, or use another number of processes"
        )
    size = images // processes
    return slice(rank * size, (rank + 1) * size)


def steps_per_epoch(images: int, batch: int) -> int:
    """How many full batches an epoch has; a set smaller than a batch is one batch."""
    return max(images // batch, 1)


def epoch_order(images: int, batch: int, seed: int, epoch: int) -> Tensor:
    """A new random order for each epoch, cut into batches; a remainder waits for another epoch.

    Args:
        images: How many there are.
        batch: Images per step; fewer images than that make one smaller batch.
        seed: The run's seed.
        epoch: Counted from 0.

    Returns:
        Indices of shape [steps, batch], on the CPU.
    """
    order = torch.randperm(images, generator=generator_for(torch.device("cpu"), seed, "order", epoch))
    steps = steps_per_epoch(images, batch)
    return order[: steps * batch].view(steps, -1)


def fetcher(images: Pixels, device: torch.device) -> Fetch:
    """Chooses how batches get to the device: a small set moves there once, a large one stays where it is mapped.

    On a CPU a copy would only take memory twice: what is mapped is in the page cache once it was read.

    Args:
        images: uint8 of shape [N, H, W, C], possibly memory-mapped.
        device: Where training computes.
    """
    if device.type != "cpu" and images.nbytes <= _RESIDENT_BYTES:
        resident = torch.from_numpy(np.array(images)).to(device)
        return lambda indices: resident[indices.to(device)]
    return lambda indices: torch.from_numpy(np.asarray(images[indices.numpy()])).to(device)
