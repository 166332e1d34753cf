"""`simvae-evaluate`: run directories to `evaluation.json`, a table and a report for each."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.build import make_fabric
from training.cli import make_console, open_images, reported_errors
from training.evaluation.evaluate import STAGES, Evaluation, evaluate
from training.evaluation.seeds import refuse_unlike
from training.evaluation.table import print_evaluations
from training.observers import stage_bar
from training.report.run_report import write_report
from training.restore import load_run
from training.run_directory import RunDirectory, write_json

__all__ = ["main"]

EXAMPLES = """
Measures a run: probes, clustering, style, likelihood, health, similarity, beside PCA and raw pixels; draws its report.

Several runs that differ in their seeds are measured one by one, then averaged, with the standard error over seeds.

Examples:

  simvae-evaluate runs/demo

  simvae-evaluate runs/seed0 runs/seed1 runs/seed2 --no-baselines

  simvae-evaluate runs/demo --device cuda --data-dir /data/fashion-mnist
"""

_OWN_STAGES = 2
"""Reading and drawing."""


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(evaluate_command)
    app()


def evaluate_command(
    runs: Annotated[list[Path], typer.Argument(help="Run directories with a checkpoint.")],
    baselines: Annotated[bool, typer.Option(help="Also measure PCA of the same size, and raw pixels.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where a folder's decoded images are kept.")] = None,
) -> None:
    """Evaluates; see EXAMPLES."""
    console, output = make_console(), Console()
    with reported_errors(console):
        directories = [RunDirectory(run) for run in runs]
        if len(directories) > 1:
            refuse_unlike([directory.record() for directory in directories])
        target = make_fabric(device, "32-true").device
        found = []
        for directory in directories:
            found.append(_evaluate(directory, target, console, data_dir, cache_dir, baselines=baselines))
            if len(directories) > 1:
                output.print(f"{directory.path}, seed {found[-1].seed}", highlight=False, soft_wrap=True)
            print_evaluations(found[-1:], output)
            console.print(f"Written: {directory.evaluation}, {directory.path}/report.html", soft_wrap=True)
        if len(directories) > 1:
            seeds = ", ".join(str(evaluation.seed) for evaluation in found)
            output.print(f"\nmean of {len(found)} runs, seeds {seeds}", highlight=False)
            print_evaluations(found, output)


def _evaluate(
    directory: RunDirectory,
    device: torch.device,
    console: Console,
    data_dir: Path | None,
    cache_dir: Path | None,
    *,
    baselines: bool,
) -> Evaluation:
    with stage_bar(console, STAGES[baselines] + _OWN_STAGES) as begin:
        begin(f"reading {directory.name}")
        trained = load_run(directory, device)
        source = open_images(trained.record, data_dir, cache_dir)
        result = evaluate(trained, source, device, begin, baselines=baselines)
        content = result.as_json()
        write_json(directory.evaluation, content)
        begin("drawing the report")
        write_report(directory, trained, source, content, device)
    return result
