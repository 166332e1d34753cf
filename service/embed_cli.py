"""`simvae-embed`: a folder of images to one file of embeddings, with the engine itself and no server."""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.embed_files import find_images, open_writer
from service.embed_folder import Skipped, embed_folder
from service.engine.engine import Engine
from service.engine.errors import EngineError
from service.engine.manifest import BundleError, Precision
from service.engine.runtime import Runtime

__all__ = ["main"]

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

_LISTED = 20


class _Precision(StrEnum):
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


@_app.command(
    epilog="""
[bold]Examples[/bold]

  simvae-embed photos photos.npy --model models/fashion/1

  simvae-embed photos photos.parquet --model models/fashion/1 --normalize --variance

  simvae-embed photos photos.npy --model models/fashion/1 --device cuda --batch 256
"""
)
def _command(
    folder: Annotated[Path, typer.Argument(help="Searched for images, with all its subfolders.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="A .npy (rows are listed in a .jsonl beside it) or a .parquet file.")],
    model: Annotated[Path, typer.Option(help="The bundle: a directory <name>/<version> with a manifest.json.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, cuda:N,M, or tensorrt likewise.")] = "auto",
    precision: Annotated[
        _Precision, typer.Option(help="Of the encoder; the bundle must have it.")
    ] = _Precision.float32,
    batch: Annotated[int, typer.Option(min=1, help="The most images of one run of the model.")] = 64,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every embedding to length 1.")] = False,
    variance: Annotated[bool, typer.Option("--variance", help="Write the posterior variances too.")] = False,
) -> None:
    """Embed every image of a folder.

    Rows are in the order of the files' paths. A file that is not a readable image is reported and skipped.
    """
    console = Console(stderr=True, highlight=False)
    try:
        _run(console, folder, out, model, device, precision.value, batch, normalize=normalize, variance=variance)
    except (BundleError, EngineError, ValueError, OSError, ModuleNotFoundError) as error:
        console.print(f"simvae-embed: {_sentence(error)}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def main() -> None:
    """The console script."""
    _app()


def _run(
    console: Console,
    folder: Path,
    out: Path,
    model: Path,
    device: str,
    precision: Precision,
    batch: int,
    *,
    normalize: bool,
    variance: bool,
) -> None:
    paths = find_images(folder)
    with contextlib.closing(Runtime(max_items=3 * batch, max_batch=batch)) as runtime, _bar(console) as bar:
        engine = Engine.load(model, device=device, precision=precision, runtime=runtime)
        task = bar.add_task("embedding", total=len(paths))

        def progress(files: int, bad: list[Skipped]) -> None:
            bar.advance(task, files)
            for each in bad:
                console.print(f"skipped {each.path}: {each.reason}", markup=False, soft_wrap=True)

        with open_writer(out, engine, variance=variance) as writer:
            skipped = embed_folder(engine, folder, paths, writer, normalize=normalize, progress=progress)
            if len(skipped) == len(paths):  # raised here, so that no empty file is left
                raise ValueError(f"Expected at least one readable image in {folder}, found none.")
    console.print(
        f"{out}: {len(paths) - len(skipped)} of {len(paths)} images embedded with {engine.manifest.reference} "
        f"(fingerprint {engine.fingerprint})",
        markup=False,
        soft_wrap=True,
    )
    _list(console, [each.path for each in skipped])


def _list(console: Console, skipped: list[str]) -> None:
    if skipped:
        more = f" and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else ""
        console.print(f"skipped: {', '.join(skipped[:_LISTED])}{more}", markup=False, soft_wrap=True)


def _bar(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)


def _sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Expected {error.name}, found none; for .parquet install simvae with the extra parquet, or write .npy."
    if isinstance(error, OSError):
        return f"{error.filename}: expected a folder or file that can be used, found: {error.strerror}."
    return str(error)
