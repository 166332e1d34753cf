"""The training loop: from images and a configuration to a checkpoint and a line of metrics per epoch.

It knows torch and Fabric, the run directory and nothing of command lines: whoever calls it is told of progress
through an `Observer` and asks it to stop through a callable. A run that was stopped and resumed ends with the same
weights, to the bit, as one that was not (on the same device and number of threads).
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training.batches import epoch_order, fetcher, generator_for, images_per_step, share_of, steps_per_epoch
from training.build import build_model
from training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from training.collapse import alarms
from training.config import Config
from training.datasets.image_set import Source
from training.distributed import all_mean
from training.divergence import WATCHED, DivergedError, diverged, first_divergence
from training.health import held_out_metrics, step_metrics
from training.model import EmbeddingModel, Pass
from training.run_directory import RunDirectory
from training.schedule import averaging_decay, learning_rate, parameter_groups
from training.views import apply_views, draw_views

__all__ = ["DivergedError", "Observer", "Trainer", "train"]

_CHECK_EVERY = 25
"""Steps between looks at whether the loss is finite; on a GPU every look waits for the device."""
_QUIET_SHARE, _QUIET_STEPS = 0.1, 300
"""The share of a run, and at least so many steps, in which nothing is called wrong yet."""

Tensors = tuple[Tensor, ...] | list[Tensor]


class Observer(Protocol):
    """Who watches a run."""

    def step(self, step: int, total: int) -> None:
        """Hears of every optimiser step."""

    def epoch(self, row: dict[str, float], warnings: list[str]) -> None:
        """Hears of every line of metrics, after it was written, and of what is wrong with the run by then."""


def train(
    run: RunDirectory,
    config: Config,
    source: Source,
    *,
    fabric: Fabric,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Trains until the last epoch, or until asked to stop; goes on from the run's checkpoint if it has one.

    Args:
        run: Where checkpoint and metrics go.
        config: What to do.
        source: Images to learn from, and some held out.
        fabric: Device and precision.
        observers: Told of every step and epoch.
        stop: Asked after every step; when true, a checkpoint is written and the function returns.

    Returns:
        Whether the run is complete.

    Raises:
        DivergedError: The loss became infinite or not a number; the last checkpoint is from before.
        CheckpointError: A checkpoint cannot be written or read.
        RunError: Metrics cannot be written.
    """
    trainer = Trainer(run, config, source, fabric)
    while trainer.step < trainer.total:
        epoch, done = divmod(trainer.step, trainer.steps)
        stopping = False
        for indices in epoch_order(len(source.train), trainer.batch, config.seed, epoch)[done:]:
            trainer.optimise(indices)
            for observer in observers:
                observer.step(trainer.step, trainer.total)
            if stopping := trainer.agree(stop()):
                break
        if trainer.step % trainer.steps == 0:
            row, warnings = trainer.finish_epoch()
            for observer in observers:
                observer.epoch(row, warnings)
        if stopping:
            trainer.save()
            break
    return trainer.step == trainer.total


class Trainer:
    """The state of a run, and what is done to it: a step, the end of an epoch, a checkpoint.

    Args:
        run: Where checkpoint and metrics go; a checkpoint that is there is taken up.
        config: What to do.
        source: Images to learn from, and some held out.
        fabric: Device and precision.
    """

    def __init__(self, run: RunDirectory, config: Config, source: Source, fabric: Fabric) -> None:
        self.run, self.config, self.source, self.fabric = run, config, source, fabric
        self.batch = images_per_step(len(source.train), config.optimiser.batch // config.views.count)
        self.part = share_of(self.batch, fabric.global_rank, fabric.world_size)
        self.steps = steps_per_epoch(len(source.train), self.batch)
        self.total = config.epochs * self.steps
        self.fetch = fetcher(source.train.images, fabric.device)
        self.model = build_model(config, source.input.shape)
        optimiser = torch.optim.AdamW(parameter_groups(self.model, config.optimiser), fused=True)
        self.module, self.optimiser = fabric.setup(self.model, optimiser)
        self.average = AveragedModel(self.model, multi_avg_fn=self._average)
        self.averaged().eval()
        self.step = 0
        self.elapsed_s, self.resumed_at = 0.0, time.perf_counter()
        self.sums: dict[str, Tensor] = {}
        self.unchecked: list[Tensor] = []
        if run.checkpoint.exists():
            self.restore(load_checkpoint(run.checkpoint))

    def optimise(self, indices: Tensor) -> None:
        """One step on one batch of images, of which this process takes its part.

        Every process draws for the whole batch, so that the draws do not depend on how many processes there are.
        """
        config, (height, width, _) = self.config, self.source.input.shape
        count = config.views.count
        generator = generator_for(self.fabric.device, config.seed, "step", self.step)
        parameters = draw_views(len(indices) * count, width / height, config.views, generator)
        noise = self.model.draw_noise(len(indices), count, generator)[self.part]
        images = self.fetch(indices[self.part])
        own = slice(self.part.start * count, self.part.stop * count)
        views = apply_views(images, parameters[own])
        views = views.reshape(len(images), count, *views.shape[1:])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.total, config.optimiser)
        result: Pass = self.module(views, noise)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(result.loss)
        self.optimiser.step()
        self.step += 1
        self.average.update_parameters(self.model)
        metrics = step_metrics(result)
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
        self.unchecked.append(torch.stack([metrics[name] for name in WATCHED if name in metrics]))
        if len(self.unchecked) == _CHECK_EVERY:
            self.check_finite()

    def finish_epoch(self) -> tuple[dict[str, float], list[str]]:
        """Measures on held-out images, then writes metrics and checkpoint, in the order that loses no line.

        A run that ends between the two resumes from the earlier checkpoint and forgets the line.

        Returns:
            The line, and sentences on what is wrong with the run.
        """
        self.check_finite()
        outside = held_out_metrics(self.averaged(), self.source.test.images, self.config, self.fabric.device)
        if not math.isfinite(outside["held_out_loss"]):  # the last step threw the weights; its loss was from before it
            self.give_up(self.step, "The held-out loss", outside["held_out_loss"])
        warnings = alarms({**outside, "latent_dim": self.model.latent_dim}) if self.warmed_up() else []
        self.average_sums()
        row = {
            "epoch": self.step // self.steps,
            "step": self.step,
            "views": self.step * self.batch * self.config.views.count,
            "elapsed_s": round(self.elapsed(), 3),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            **{name: value.item() / self.steps for name, value in self.sums.items()},
            **outside,
            "alarms": float(len(warnings)),
        }
        self.sums = {}
        if self.fabric.is_global_zero:
            self.run.append_metrics(row)
        self.save()
        return row, warnings

    def warmed_up(self) -> bool:
        """Whether enough is trained for a warning to mean something."""
        share = max(self.config.optimiser.warm_up, _QUIET_SHARE)
        return self.step > max(share * self.total, _QUIET_STEPS)

    def agree(self, stop: bool) -> bool:
        """What the first process says, for all: they must stop at the same step."""
        return bool(self.fabric.broadcast(stop)) if self.fabric.world_size > 1 else stop

    def average_sums(self) -> None:
        """Gives every process the metrics of the whole batches."""
        self.sums = {name: all_mean(value) for name, value in self.sums.items()}

    def check_finite(self) -> None:
        """Raises DivergedError if a loss since the last look was infinite or not a number."""
        if not self.unchecked:
            return
        values = all_mean(torch.stack(self.unchecked)).cpu()
        if (found := first_divergence(values)) is not None:
            first, what, loss = found
            self.give_up(self.step - len(values) + first + 1, what, loss)
        self.unchecked = []

    def save(self) -> None:
        """Writes the checkpoint, if all it was made from is finite."""
        self.check_finite()
        self.average_sums()
        if not self.fabric.is_global_zero:
            return
        checkpoint = Checkpoint(
            step=self.step,
            model=self.model.state_dict(),
            ema=self.averaged().state_dict(),
            optimiser=self.optimiser.state_dict(),
            sums=self.sums,
            elapsed_s=self.elapsed(),
        )
        save_checkpoint(self.run.checkpoint, checkpoint)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes up where a checkpoint left off."""
        load_weights(self.model, checkpoint.model)
        load_weights(self.averaged(), checkpoint.ema)
        self.average.n_averaged.fill_(checkpoint.step)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.step, self.elapsed_s = checkpoint.step, checkpoint.elapsed_s
        self.sums = {name: value.to(self.fabric.device) for name, value in checkpoint.sums.items()}
        if self.fabric.is_global_zero:
            self.run.forget_metrics_after(checkpoint.step)

    def averaged(self) -> EmbeddingModel:
        """The model with averaged weights."""
        return cast("EmbeddingModel", self.average.module)

    def elapsed(self) -> float:
        """Seconds trained, over all sittings."""
        return self.elapsed_s + time.perf_counter() - self.resumed_at

    def _average(self, averaged: Tensors, current: Tensors, _count: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - averaging_decay(self.step, self.config.optimiser))

    def give_up(self, step: int, what: str, value: float) -> NoReturn:
        """Ends a run that no longer computes anything."""
        raise diverged(what, value, step=step, total=self.total, config=self.config, run=self.run)
