"""What a model does with a batch of images or latents, as lanes for the batcher: one for each task and priority."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from service.engine.images import Pixels
from service.engine.lane import Lane
from service.engine.model import Model
from service.engine.priority import Priority
from service.engine.results import Embedding, Floats, Reconstruction
from service.engine.statistics import Statistics

__all__ = ["TASKS", "Task", "task_lanes"]

Task = Literal["embed", "reconstruct", "decode"]
TASKS: tuple[Task, ...] = get_args(Task)


def task_lanes(
    model: Model, max_batch: int, priority: Priority, statistics: Mapping[Task, Statistics]
) -> dict[Task, Lane[Any, Any]]:
    """The lanes of one model.

    Bulk never runs alone on all cores: who comes meanwhile would wait for it.

    Args:
        model: What runs.
        max_batch: The most items of one run.
        priority: Of the items.
        statistics: Of each task, which the lanes of both priorities share.
    """
    alone = functools.partial(_embed, model, alone=True) if priority == "interactive" else None
    runs: dict[Task, tuple[Any, Any]] = {
        "embed": (functools.partial(_embed, model), alone),
        "reconstruct": (functools.partial(_reconstruct, model), None),
        "decode": (functools.partial(_decode, model), None),
    }
    return {task: Lane(run, max_batch, one, priority, statistics[task]) for task, (run, one) in runs.items()}


def _embed(model: Model, pixels: Sequence[Pixels], *, alone: bool = False) -> list[Embedding]:
    return list(model.encode(np.stack(pixels), alone=alone))


def _reconstruct(model: Model, pixels: Sequence[Pixels]) -> list[Reconstruction]:
    result = model.reconstruct(np.stack(pixels))
    errors = result.squared_error
    typicality = model.manifest.typicality.share_above(errors)
    parts = zip(result.pixels, errors.tolist(), typicality.tolist(), result.embeddings, strict=True)
    return [Reconstruction(*part) for part in parts]


def _decode(model: Model, latents: Sequence[Floats]) -> list[Pixels]:
    return list(model.decode(np.stack(latents)))
