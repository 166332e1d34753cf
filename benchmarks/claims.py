"""Whether the paper's claims hold on our own numbers: every objective, same data, network, views, budget and tuning.

    python benchmarks/claims.py tune  --data glyphs        a run per trial, scored on validation images
    python benchmarks/claims.py run   --data glyphs        the best trial of each objective, several seeds, test images
    python benchmarks/claims.py run   --seeds 3 4          further seeds, beside those that were measured
    python benchmarks/claims.py table                      docs/results.md from docs/results.json

What is tried stands in benchmarks/claims.toml: as many trials for every objective. Finished runs are kept in
runs/claims and not repeated, so that a stopped benchmark goes on where it was. `--budget 10` trains ten times longer.
"""

import argparse
import json
import multiprocessing
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from claims_table import write_table
from lightning_fabric import Fabric

from training.build import make_fabric
from training.config import Config
from training.datasets.image_set import ImageSet, Source
from training.datasets.sources import open_source
from training.evaluation.evaluate import evaluate
from training.evaluation.probes import Codes, knn_accuracy
from training.evaluation.split import split_training
from training.model import EmbeddingModel
from training.overrides import load_preset, with_overrides
from training.restore import encode_images, load_run
from training.run_directory import RunDirectory, new_record, write_json
from training.trainer import train

ROOT = Path(__file__).resolve().parents[1]
PLAN = ROOT / "benchmarks" / "claims.toml"
RESULTS = ROOT / "docs" / "results.json"
TUNING_SEED = 100
"""Not one of those that are reported."""


@dataclass(frozen=True)
class Job:
    """One run: which data, which objective, told what, and what it is scored on."""

    data: str
    objective: str
    label: str
    overrides: tuple[str, ...]
    validation: bool
    baselines: bool
    device: str
    threads: int

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return with_overrides(load_preset("demo"), list(self.overrides))

    @property
    def path(self) -> Path:
        """Its run directory."""
        return ROOT / "runs" / "claims" / self.data / f"{self.objective}-{self.label}"


def validation_score(model: EmbeddingModel, images: ImageSet, device: torch.device) -> float:
    """What trials are compared by: accuracy of 20 nearest neighbours of the embedding, by angle, on validation images.

    They are a stratified tenth of the training images, with the other nine tenths to look among.
    """
    if images.labels is None:
        raise SystemExit("expected labels to compare trials by, found none; name another data set")
    split = split_training(images.labels, TUNING_SEED)
    codes = encode_images(model, images.images, device)
    fit, held = ((codes[items], images.labels[items]) for items in (split.fit, split.validation))
    return knn_accuracy(Codes(*fit, test=held[0], test_labels=held[1], device=device), cosine=True)


def carry_out(job: Job) -> dict[str, Any]:
    """Trains and evaluates, unless that is done already."""
    torch.set_num_threads(job.threads)
    source, fabric = open_source(job.data), make_fabric(job.device, job.config.optimiser.precision)
    device, run = fabric.device, learn(job, source, fabric)
    trained = load_run(run, device)
    if job.validation:
        score = validation_score(trained.model, source.train, device)
        return {"objective": job.objective, "label": job.label, "score": score}
    if not run.evaluation.exists():
        write_json(run.evaluation, evaluate(trained, source, device, baselines=job.baselines).as_json())
    evaluation, last = json.loads(run.evaluation.read_text(encoding="utf-8")), run.read_metrics()[-1]
    return {
        "objective": job.objective,
        "label": job.label,
        "overrides": list(job.overrides),
        "seed": job.config.seed,
        "views": last["views"],
        "seconds": last["elapsed_s"],
        "code_version": run.record().code_version,
        "score": evaluation["representations"][0]["knn_cosine"],
        "evaluation": evaluation,
    }


def learn(job: Job, source: Source, fabric: Fabric) -> RunDirectory:
    """A run that is complete, whether it was before or not."""
    run, config = RunDirectory(job.path), job.config
    if not run.config.exists():
        command = f"benchmarks/claims.py ({job.objective}, {job.label})"
        run.create(new_record(job.data, source, config, preset="demo", command=command))
    elif run.record().config != config:
        raise SystemExit(f"{run.path}: expected the run of this plan, found another's; remove it or undo the change")
    train(run, config, source, fabric=fabric)
    return run


def perform(jobs: Sequence[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Carries out all jobs, several at once, and yields results as they come."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(carry_out, job): job for job in jobs}
        for done, future in enumerate(as_completed(waiting), 1):
            job, result = waiting[future], future.result()
            print(f"[{done}/{len(jobs)}] {job.data} {job.objective} {job.label}: {result['score']:.4f}", flush=True)
            yield result


def tune(data: str, plan: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """One run per trial; the best trial of each objective by validation score."""
    jobs = [
        Job(
            data=data,
            objective=objective,
            label=f"trial{number}-budget{options.budget:g}",
            overrides=overrides(plan, objective, trial, TUNING_SEED, options.budget),
            validation=True,
            baselines=False,
            device=options.device,
            threads=options.threads,
        )
        for objective, trials in plan["trials"].items()
        for number, trial in enumerate(trials)
    ]
    results = list(perform(jobs, options.jobs))
    table: dict[str, Any] = {}
    for objective, trials in plan["trials"].items():
        scores = {row["label"]: row["score"] for row in results if row["objective"] == objective}
        found = [scores[f"trial{number}-budget{options.budget:g}"] for number in range(len(trials))]
        table[objective] = {
            "trials": [{"overrides": trial, "knn_cosine": value} for trial, value in zip(trials, found, strict=True)],
            "chosen": trials[found.index(max(found))],
            "budget": options.budget,
        }
    return table


def run(data: str, plan: dict[str, Any], measured: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The chosen trial of every objective with every seed, on test images; beside what was measured before."""
    before = measured.get("runs", [])
    jobs = [
        Job(
            data=data,
            objective=objective,
            label=f"budget{options.budget:g}-seed{seed}",
            overrides=overrides(plan, objective, found["chosen"], seed, options.budget),
            validation=False,
            baselines=not before and objective == "simvae" and seed == options.seeds[0],
            device=options.device,
            threads=options.threads,
        )
        for seed in options.seeds
        for objective, found in measured["tuning"].items()
    ]
    return together(before, list(perform(jobs, options.jobs)))


def together(before: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ in seed and objective alone; SystemExit where earlier ones saw another number of views."""
    views = {each["views"] for each in (*before, *found)}
    if len(views) > 1:
        raise SystemExit(
            f"expected runs of one budget in {RESULTS.name}, found runs of {sorted(views)} views; remove some"
        )
    runs = {(each["seed"], each["objective"]): each for each in (*before, *found)}
    return list(runs.values())


def overrides(plan: dict[str, Any], objective: str, trial: Sequence[str], seed: int, budget: float) -> tuple[str, ...]:
    """Everything that a run is told beyond the preset."""
    epochs = max(1, round(plan["epochs"] * budget))
    return (*plan["base"], f"epochs={epochs}", f"seed={seed}", f"objective.name={objective}", *trial)


def read_results() -> dict[str, Any]:
    """What was measured so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("tune", "run", "table"))
    parser.add_argument("--data", nargs="+", default=["fashion-mnist", "glyphs"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=1.0, help="times the epochs of the plan")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.stage == "table":
        return write_table(read_results(), ROOT / "docs" / "results.md")
    plans = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    for data in options.data:
        open_source(data)  # fetched or drawn once, before several processes want it
        measured = read_results().get(data, {})
        if options.stage == "tune":
            measured["tuning"] = tune(data, plans[data], options)
        else:
            measured["runs"] = run(data, plans[data], measured, options)
        RESULTS.write_text(json.dumps({**read_results(), data: measured}, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
