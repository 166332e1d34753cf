"""How fast training is: stage by stage, against the machine's own limit, and against the released recipe.

    python benchmarks/train_speed.py                          # everything, some twenty minutes on two cores
    python benchmarks/train_speed.py --skip-time-to-accuracy  # a few minutes
    python benchmarks/train_speed.py --quick                  # a minute, to see that it runs; its ratios mean little

What is compared takes turns, round by round, and only ratios are judged, since a busy machine slows both sides. The
status is 1 if a target is missed.
"""

import argparse
import logging
import os
import platform
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from learners import Learner, Ours, Released, clock, set_aside
from time_to_accuracy import compare_time_to_accuracy
from torch.utils.flop_counter import FlopCounterMode

from training.batches import generator_for
from training.config import Config
from training.datasets.image_set import Source
from training.datasets.sources import open_source
from training.overrides import load_preset, with_overrides
from training.run_directory import code_version
from training.views import make_views

PRESETS = {"demo": "convolutional encoder", "paper": "the paper's MLP"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GEMM_SIZES = ((1024, 784, 2000), (2048, 2048, 2048))
GPU_SIZE = (8192, 8192, 8192)  # what fills a processor leaves a GPU idle
SPEED_TARGET, SOONER_TARGET, ACCURACY = 3.0, 10.0, 0.80
STAGES = ("views", "forward", "backward", "optimiser", "whole step")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        steps: Timed steps of each preset.
        rounds: Turns of each side.
        turn: Views in a turn of the released recipe; ours has three times as many.
        accuracy: kNN accuracy to reach.
        released_every: Steps of the released recipe between evaluations; it has at most 80.
    """

    steps: int = 30
    rounds: int = 9
    turn: int = 5_000
    accuracy: float = ACCURACY
    released_every: int = 250


QUICK = Effort(steps=3, rounds=2, turn=1_000, accuracy=0.5, released_every=20)


def main() -> int:
    """Measures, prints, and returns 0 if both targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--skip-time-to-accuracy", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else every trainer says its precision
    warnings.filterwarnings("ignore", "This DataLoader will create")  # four workers are part of the recipe
    effort = QUICK if options.quick else Effort()
    source = set_aside(open_source("fashion-mnist"))
    with tempfile.TemporaryDirectory(prefix="simvae-speed-") as folder:

        def ours(preset: str, *overrides: str) -> Ours:
            config = with_overrides(load_preset(preset), list(overrides))
            return Ours(config, source, options.device, Path(folder))

        device = ours("demo").device
        print(describe_machine(device))
        rates = {name: gemm_rate(device, dtype) for name, dtype in DTYPES.items()}
        print("matrix products: " + ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items()))
        for preset, title in PRESETS.items():
            print_stages(f"preset {preset} ({title})", ours(preset), device, effort.steps, rates)
        passed = print_verdict("views per second", compare_speed(ours, source, device, effort), SPEED_TARGET)
        if not options.skip_time_to_accuracy:
            print(f"\nTime to a kNN accuracy of {effort.accuracy:.2f}, evaluations not counted")
            sooner = compare_time_to_accuracy(ours, source, device, effort.accuracy, effort.released_every)
            passed &= print_verdict("times", sooner, SOONER_TARGET)
    return 0 if passed else 1


def describe_machine(device: torch.device) -> str:
    """Processor, threads, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    gpu = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{gpu}{processor}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads{load}; "
        f"torch {torch.__version__}; code {code_version()}"
    )


def gemm_rate(device: torch.device, dtype: torch.dtype, repeats: int = 20) -> float:
    """The best rate of matrix products of the size of the networks' layers, and of larger ones, in FLOP/s."""
    now, best = clock(device), 0.0
    for rows, inner, columns in (*GEMM_SIZES, *([GPU_SIZE] if device.type == "cuda" else [])):
        left = torch.rand(rows, inner, device=device).to(dtype)
        right = torch.rand(inner, columns, device=device).to(dtype)
        for _ in range(repeats):
            start = now()
            torch.mm(left, right)
            best = max(best, 2 * rows * inner * columns / (now() - start))
    return best


def print_stages(title: str, learner: Ours, device: torch.device, steps: int, rates: dict[str, float]) -> None:
    """A table of the stages of a step, and what share of the machine's rate the whole step reaches."""
    flops = count_flops(learner) / learner.views_per_step
    for _ in range(3):
        learner.step()
    seconds = time_stages(learner, device, steps)
    config: Config = learner.trainer.config
    dtype = "float32" if config.optimiser.precision == "32-true" else "bfloat16"
    print(f"\n{title}: {learner.views_per_step} views per step, {dtype}, {flops / 1e6:.1f} MFLOP per view")
    for stage in STAGES:
        share = seconds[stage] / seconds["whole step"]
        print(f"  {stage:<12}{learner.views_per_step / seconds[stage]:>12,.0f} views/s{share:>8.0%}")
    rate = flops * learner.views_per_step / seconds["whole step"]
    print(f"  {rate / 1e9:,.0f} GFLOP/s in the whole step, {rate / rates[dtype]:.0%} of the machine's {dtype} products")


def count_flops(learner: Ours) -> int:
    """Floating-point operations of the matrix products and convolutions of one forward and backward pass."""
    with FlopCounterMode(display=False) as counter:
        stages = _stages(learner)
        for stage in ("views", "forward", "backward"):
            if stage == "forward":
                counted = counter.get_total_flops()
            stages[stage]()
    return int(counter.get_total_flops() - counted)


def time_stages(learner: Ours, device: torch.device, steps: int) -> dict[str, float]:
    """Median seconds of each stage; steps taken stage by stage and whole take turns."""
    now = clock(device)
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(steps):
        for stage, do in {**_stages(learner), "whole step": learner.step}.items():
            start = now()
            do()
            seconds[stage].append(now() - start)
    return {stage: statistics.median(times) for stage, times in seconds.items()}


def _stages(learner: Ours) -> dict[str, Callable[[], object]]:
    """What `Trainer.optimise` does, in four calls to be made in this order."""
    trainer, config = learner.trainer, learner.trainer.config
    state = {}

    def views() -> None:
        indices = learner.next_batch()
        generator = generator_for(trainer.fabric.device, config.seed, "step", trainer.step)
        state["views"] = make_views(trainer.fetch(indices), config.views, generator)
        state["noise"] = trainer.model.draw_noise(len(indices), config.views.count, generator)

    def forward() -> None:
        state["loss"] = trainer.module(state.pop("views"), state.pop("noise")).loss

    def optimiser() -> None:
        trainer.optimiser.step()
        trainer.average.update_parameters(trainer.model)
        trainer.optimiser.zero_grad(set_to_none=True)

    return {
        "views": views,
        "forward": forward,
        "backward": lambda: trainer.fabric.backward(state.pop("loss")),
        "optimiser": optimiser,
    }


def compare_speed(ours: Callable[..., Ours], source: Source, device: torch.device, effort: Effort) -> float:
    """The paper's MLP: views per second of our step as a multiple of the released one, which Pillow feeds."""
    released = Released(source, device)
    equal = ours("paper", f"optimiser.batch={released.views_per_step}")
    learners: dict[str, Learner] = {"released recipe": released, "preset paper": ours("paper"), "its batch": equal}
    rates: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(effort.rounds):
        for name, learner in learners.items():
            views = effort.turn if learner is released else 3 * effort.turn  # so that turns take about equally long
            rates[name].append(_rate(learner, max(views // learner.views_per_step, 2), device))
    released.close()
    ratios = {
        name: statistics.median(mine / theirs for mine, theirs in zip(found, rates["released recipe"], strict=True))
        for name, found in rates.items()
    }
    print("\nThe paper's MLP, medians of rounds that take turns")
    for name, learner in learners.items():
        batch, rate = f"{learner.views_per_step} views per step", statistics.median(rates[name])
        print(f"  {name:<16}{batch:>21}{rate:>10,.0f} views/s{ratios[name]:>8.2f} times")
    return ratios["preset paper"]


def _rate(learner: Learner, steps: int, device: torch.device) -> float:
    now = clock(device)
    for _ in range(max(steps // 4, 1)):  # what a loader made while it was not its turn is not counted
        learner.step()
    start = now()
    for _ in range(steps):
        learner.step()
    return steps * learner.views_per_step / (now() - start)


def print_verdict(what: str, ratio: float | None, target: float) -> bool:
    """Says whether a target is reached, and returns it; a ratio that could not be had misses it."""
    passed = ratio is not None and ratio >= target
    found = "not found, since one of the two did not get there" if ratio is None else f"{ratio:.1f}"
    print(f"  ratio of {what}: {found}; target {target:.0f}: {'PASS' if passed else 'FAIL'}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
