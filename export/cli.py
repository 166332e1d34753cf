"""`simvae-export`: a run directory to a verified bundle."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from export.bundle_writer import export_run
from export.parity import ParityError
from service.engine.bundle import BundleError
from training.cli import make_console, open_images, reported_errors
from training.observers import stage_bar
from training.run_directory import RunDirectory

__all__ = ["main"]

EXAMPLES = """
Exports a run as the next version of a model, and verifies it with the code that serves it.

Examples:

  simvae-export runs/demo models/demo

  simvae-export runs/photos /srv/models/photos --cache-dir /var/cache/simvae
"""


_STAGES = 4
"""Reading, graphs, measuring, verifying."""


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(export_command)
    app()


def export_command(
    run: Annotated[Path, typer.Argument(help="A run directory with a checkpoint.")],
    target: Annotated[Path, typer.Argument(help="<models>/<name>; the next free version number is added.")],
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where a folder's decoded images are kept.")] = None,
) -> None:
    """Exports; see EXAMPLES."""
    console = make_console()
    with reported_errors(console, ParityError, BundleError), stage_bar(console, _STAGES) as begin:
        begin("reading the run")
        directory = RunDirectory(run)
        source = open_images(directory.record(), data_dir, cache_dir)
        exported = export_run(directory, target, source, progress=begin)
    embedding = exported.manifest.embedding
    if embedding.calibration is None:
        why = (
            "a flat p(y) has no likelihood ratio"
            if embedding.tau2 is None
            else "views of one image look like those of two"
        )
        console.print(f"No calibration of the likelihood ratio, so no probabilities: {why}.")
    console.print(
        f"{exported.path}: {exported.manifest.reference}, verified; largest difference from torch "
        f"{exported.parity.embedding:.1e} in embeddings, {exported.parity.image:.0f} grey levels in images.",
        soft_wrap=True,
    )
    serve = ["simvae-serve", "--models", str(target.parent), "--default-model", exported.manifest.name]
    console.print(f"Next: {shlex.join(serve)}", soft_wrap=True)
