"""What an encoder of lower precision loses against float32, and what it gains in speed, on a source's own images."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.parity import Outputs, Run
from service.engine.images import Pixels
from training.datasets.image_set import Source
from training.evaluation.probes import NEIGHBOURS, majority_vote
from training.evaluation.split import choose_items

__all__ = ["Answers", "Questions", "cosine", "overlap", "time_in_turns"]

_INDEX_IMAGES = 60_000
_ASKED_IMAGES = 10_000
_BATCH = 256
_TIMED_BATCH = 32
_ROUNDS = 40
_WARM_UP = 3

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one encoder makes of the questions.

    Attributes:
        outputs: Mean and log variance of each of the M held-out images, shape [M, D] each.
        neighbours: The training images nearest to each by cosine, nearest first, shape [M, 20], or narrower when there
            are fewer.
        accuracy: Share of held-out images that their neighbours' majority classifies correctly; None without labels.
    """

    outputs: Outputs
    neighbours: Indices
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Questions:
    """Held-out images whose nearest training images every encoder is asked for.

    Attributes:
        source: The images, with labels or without.
        index: Which training images are searched.
        asked: Which held-out images are asked for.
    """

    source: Source
    index: Indices
    asked: Indices

    @classmethod
    def about(cls, source: Source, seed: int) -> "Questions":
        """At most 10,000 held-out and 60,000 training images; of more, those that the seed chooses."""
        index = choose_items(len(source.train), _INDEX_IMAGES, seed)
        return cls(source, index, choose_items(len(source.test), _ASKED_IMAGES, seed))

    def first(self, count: int) -> "Questions":
        """The same for fewer held-out images."""
        return Questions(self.source, self.index, self.asked[:count])

    def outputs(self, encoder: Run) -> Outputs:
        """Mean and log variance of the held-out images, shape [M, D] each."""
        return _in_batches(encoder, self.source.test.images, self.asked)

    def put(self, encoder: Run) -> Answers:
        """Asks an encoder, images to mean and log variance, for everything."""
        known, outputs = _in_batches(encoder, self.source.train.images, self.index)[0], self.outputs(encoder)
        neighbours = _nearest(torch.from_numpy(known), torch.from_numpy(outputs[0]))
        return Answers(outputs, neighbours.numpy(), self._accuracy(neighbours))

    def _accuracy(self, neighbours: torch.Tensor) -> float | None:
        known, true = self.source.train.labels, self.source.test.labels
        if known is None or true is None:
            return None
        votes = majority_vote(torch.from_numpy(known[self.index])[neighbours], int(known.max()) + 1)
        return float((votes.numpy() == true[self.asked]).mean())


def _in_batches(encoder: Run, images: Pixels, items: Indices) -> Outputs:
    batches = [encoder(images[items[start : start + _BATCH]]) for start in range(0, len(items), _BATCH)]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _nearest(known: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Indices of the most similar rows by cosine, shape [M, 20]."""
    directions = torch.nn.functional.normalize(known)
    count = min(NEIGHBOURS, len(known))
    return torch.cat([(rows @ directions.T).topk(count).indices for rows in torch.split(asked, _BATCH)])


def cosine(found: Outputs, float32: Outputs) -> float:
    """Mean cosine similarity of the two means of each image; not a number if a mean is none."""
    left, right = (torch.from_numpy(outputs[0]).double() for outputs in (found, float32))
    return float(torch.nn.functional.cosine_similarity(left, right).mean().clamp(-1, 1))


def overlap(found: Answers, float32: Answers) -> float:
    """Share of the neighbours of float32 that are among those found."""
    return float((found.neighbours[:, :, None] == float32.neighbours[:, None, :]).any(1).mean())


def time_in_turns(encoders: Mapping[str, Run], images: Pixels) -> dict[str, NDArray[np.float64]]:
    """Seconds per image that each encoder takes in a batch of 32, 40 times, in turns, so that all meet the same load.

    Args:
        encoders: By name.
        images: uint8 of shape [N, H, W, C]; fewer than a batch holds are repeated.

    Returns:
        By name, shape [40].
    """
    batch = np.resize(images[:_TIMED_BATCH], (_TIMED_BATCH, *images.shape[1:]))
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(_WARM_UP + _ROUNDS):
        for name, encoder in encoders.items():
            begin = time.perf_counter()
            encoder(batch)
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(each[_WARM_UP:]) / _TIMED_BATCH for name, each in seconds.items()}
