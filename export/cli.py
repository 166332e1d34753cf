"""`simvae-export`: a run directory to a verified bundle."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from export.bundle_writer import export_run
from export.parity import ParityError
from service.engine.bundle import BundleError, Precision, VersusFloat32
from training.cli import make_console, open_images, reported_errors
from training.observers import stage_bar
from training.run_directory import RunDirectory

__all__ = ["main"]

EXAMPLES = """
Exports a run as the next version of a model, and verifies it with the code that serves it.

Examples:

  simvae-export runs/demo models/demo

  simvae-export runs/photos /srv/models/photos --cache-dir /var/cache/simvae

  simvae-export runs/photos models/photos --precision float16 --precision int8
"""

_STAGES = 4
"""Reading, graphs, measuring, verifying; with lower precisions one more."""


class _Precision(StrEnum):
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(export_command)
    app()


def export_command(
    run: Annotated[Path, typer.Argument(help="A run directory with a checkpoint.")],
    target: Annotated[Path, typer.Argument(help="<models>/<name>; the next free version number is added.")],
    precision: Annotated[
        list[_Precision] | None, typer.Option(help="Adds an encoder beside the float32 one; may be repeated.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where a folder's decoded images are kept.")] = None,
) -> None:
    """Exports; see EXAMPLES."""
    console = make_console()
    precisions: list[Precision] = [each.value for each in precision or ()]
    stages = _STAGES + any(each != "float32" for each in precisions)
    with reported_errors(console, ParityError, BundleError), stage_bar(console, stages) as begin:
        begin("reading the run")
        directory = RunDirectory(run)
        source = open_images(directory.record(), data_dir, cache_dir)
        exported = export_run(directory, target, source, precisions, progress=begin)
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
    for graph in exported.manifest.encoders:
        if graph.versus_float32 is not None:
            console.print(_sentence(graph.precision, graph.versus_float32), soft_wrap=True)
    serve = ["simvae-serve", "--models", str(target.parent), "--default-model", exported.manifest.name]
    console.print(f"Next: {shlex.join(serve)}", soft_wrap=True)


def _sentence(precision: Precision, found: VersusFloat32) -> str:
    """What a precision costs and gains, for people."""
    lost = "" if found.knn_loss_points is None else f", {found.knn_loss_points:+.2f} points of kNN accuracy lost"
    return (
        f"{precision}: cosine {found.cosine:.4f} to float32, {found.overlap:.1%} of neighbours kept{lost}, "
        f"{found.speed:.2f} times as fast on one thread of this machine."
    )
