"""How long a training takes until its embedding is so good: steps are on the clock, evaluations are not.

The embedding is judged by the 20 nearest neighbours, by Euclidean distance between posterior means of clean images.
The images set aside ask, the others are the index and the only ones trained on; the test set is never touched. Both
trainings are measured the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from learners import Learner, Ours, Released, clock

from training.datasets.image_set import Source
from training.evaluation.probes import Codes, knn_accuracy

__all__ = ["FAST", "Reached", "compare_time_to_accuracy", "time_to_accuracy"]

FAST = ("epochs=1", "objective.likelihood=bernoulli", "objective.beta=0.1", "optimiser.batch=128", "optimiser.lr=4e-3")
"""The demo's network in a hurry: small batches, one epoch. Chosen by what is reached on the images set aside."""
_OURS_EVERY = 25
_MOST_EVALUATIONS = 80


@dataclass(frozen=True)
class Reached:
    """When the accuracy was reached, or what the last evaluation found."""

    seconds: float
    views: int
    accuracy: float
    enough: bool


def compare_time_to_accuracy(
    ours: Callable[..., Ours], source: Source, device: torch.device, target: float, released_every: int
) -> float | None:
    """How many times sooner our training is there; ours runs before and after, and the slower one counts.

    Args:
        ours: Makes our learner of a preset and overrides.
        source: From `set_aside`.
        device: Where to compute.
        target: kNN accuracy, 0 to 1.
        released_every: Steps of the released recipe between evaluations.

    Returns:
        The ratio of seconds, or None if one of them did not get there.
    """

    def reach(title: str, learner: Learner, every: int) -> Reached:
        print(title)
        return time_to_accuracy(learner, source, target, every=every, device=device)

    title = f"ours: demo with {', '.join(FAST)}"
    before = reach(title, ours("demo", *FAST, "seed=0"), _OURS_EVERY)
    released = Released(source, device, _MOST_EVALUATIONS * released_every)
    theirs = reach("released recipe", released, released_every)
    released.close()
    after = reach(f"{title}, another seed", ours("demo", *FAST, "seed=1"), _OURS_EVERY)
    slower = max(before, after, key=lambda mine: mine.seconds)
    print(f"  released recipe: {theirs.seconds:,.1f} s, {theirs.views:,} views", end="; ")
    print(f"ours: {slower.seconds:,.1f} s, {slower.views:,} views")
    return theirs.seconds / slower.seconds if before.enough and theirs.enough and after.enough else None


def time_to_accuracy(learner: Learner, source: Source, target: float, *, every: int, device: torch.device) -> Reached:
    """Trains until an evaluation finds the accuracy, or the learner may take no more steps; prints every evaluation.

    Args:
        learner: What to time.
        source: From `set_aside`.
        target: kNN accuracy, 0 to 1.
        every: Steps between evaluations.
        device: Where to look for neighbours.
    """
    now = clock(device)
    seconds, step, accuracy = 0.0, 0, 0.0
    while step < learner.steps and accuracy < target:
        block = min(every, learner.steps - step)
        start = now()
        for _ in range(block):
            learner.step()
        seconds += now() - start
        step += block
        accuracy = _neighbours(learner, source, device)
        print(f"  {seconds:7.1f} s  {step * learner.views_per_step:>9,} views  kNN {accuracy:.4f}", flush=True)
    return Reached(seconds, step * learner.views_per_step, accuracy, accuracy >= target)


def _neighbours(learner: Learner, source: Source, device: torch.device) -> float:
    train, test = source.train, source.test
    assert train.labels is not None  # noqa: S101  # FashionMNIST has labels
    assert test.labels is not None  # noqa: S101
    features = {"train": learner.embed(train.images), "test": learner.embed(test.images)}
    return knn_accuracy(
        Codes(**features, train_labels=train.labels, test_labels=test.labels, device=device), cosine=False
    )
