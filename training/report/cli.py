"""`simvae-compare`: evaluated runs to one page that sets them side by side."""

from pathlib import Path
from typing import Annotated

import typer

from training.build import make_fabric
from training.cli import make_console, open_images, reported_errors
from training.observers import stage_bar
from training.report.compare_report import write_comparison
from training.report.comparison import contenders, read_members
from training.run_directory import RunDirectory

__all__ = ["main"]

EXAMPLES = """
Compares evaluated runs of the same images: curves, every figure with its standard error, reconstructions.

Runs that differ in the seed alone are averaged.

Examples:

  simvae-compare runs/simvae-0 runs/simvae-1 runs/vae-0 runs/vae-1

  simvae-compare runs/* --out docs/objectives.html
"""


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(compare_command)
    app()


def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, each evaluated.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("compare.html"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where a folder's decoded images are kept.")] = None,
) -> None:
    """Compares; see EXAMPLES."""
    console = make_console()
    with reported_errors(console), stage_bar(console, 2) as begin:
        begin("reading the runs")
        target = make_fabric(device, "32-true").device
        groups = contenders(read_members([RunDirectory(run) for run in runs]))
        source = open_images(groups[0].record, data_dir, cache_dir)
        begin("drawing the comparison")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_comparison(groups, source, out, target)
    console.print(f"Written: {out}", soft_wrap=True)
