"""`simvae-evaluate`: a run directory to `evaluation.json`, a table and the pictures of its report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli import make_console, open_images, reported_errors
from training.evaluation.evaluate import Evaluation, Scores, evaluate
from training.observers import stage_bar
from training.report.pictures import plot_curves, plot_reconstructions, plot_samples
from training.restore import load_run
from training.run_directory import RunDirectory, write_json
from training.build import make_fabric

__all__ = ["main"]

EXAMPLES = """
Measures a run: probes of its embeddings beside raw pixels and PCA, reconstruction, bound; draws its report.

Examples:

  simvae-evaluate runs/demo

  simvae-evaluate runs/demo --device cuda --data-dir /data/fashion-mnist
"""


_STAGES = 8
"""Reading, embedding, PCA, three probes, the bound, the report."""


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(evaluate_command)
    app()


def evaluate_command(
    run: Annotated[Path, typer.Argument(help="A run directory with a checkpoint.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where a folder's decoded images are kept.")] = None,
) -> None:
    """Evaluates; see EXAMPLES."""
    console = make_console()
    directory = RunDirectory(run)
    with reported_errors(console), stage_bar(console, _STAGES) as begin:
        begin("reading the run")
        target = make_fabric(device, "32-true").device
        trained = load_run(directory, target)
        source = open_images(trained.record, data_dir, cache_dir)
        result = evaluate(trained, source, target, progress=begin)
        write_json(directory.evaluation, result.as_json())
        begin("drawing the report")
        directory.report.mkdir(exist_ok=True)
        plot_curves(directory.read_metrics(), directory.report / "curves.png")
        plot_reconstructions(trained, source.test.images, target, directory.report / "reconstructions.png")
        plot_samples(trained, source.test.images, target, directory.report / "samples.png")
    _print(result, Console())
    console.print(f"Written: {directory.evaluation}, {directory.report}/*.png", soft_wrap=True)


def _print(result: Evaluation, console: Console) -> None:
    table = Table("", "dimensions", "linear", "kNN cosine", "kNN Euclidean", "squared error")
    for row in result.rows:
        table.add_row(row.name, str(row.dimensions), *_cells(row))
    console.print(table)
    error = "" if result.elbo_standard_error is None else f" ± {result.elbo_standard_error:.2f}"
    console.print(
        f"held-out ELBO {result.elbo:.2f}{error} nats per view; "
        f"active units {result.active_units} of {result.rows[0].dimensions}\n"
        f"probes fitted on {result.train_images:,} training images, scored on {result.test_images:,} test images",
        highlight=False,
        soft_wrap=True,
    )


def _cells(row: Scores) -> list[str]:
    accuracies = (row.linear, row.knn_cosine, row.knn_euclidean)
    error = "–" if row.squared_error is None else f"{row.squared_error:.4f}"
    return [*("–" if value is None else f"{value:.4f}" for value in accuracies), error]
