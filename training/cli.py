"""`simvae-train`: a source of images to a run directory."""

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from lightning_fabric import Fabric
from rich.console import Console
from rich.text import Text

from service.engine.images import InputSpec
from training.build import make_fabric
from training.checkpoint import CheckpointError, load_checkpoint
from training.config import Config
from training.datasets.image_set import DataError, Source
from training.datasets.sources import SOURCES, open_source
from training.distributed import leave_group
from training.observers import ConsoleObserver, TensorBoardObserver, stop_on_signals
from training.overrides import ConfigError, load_preset, preset_names, with_overrides
from training.run_directory import RunDirectory, RunError, RunRecord, new_record
from training.trainer import DivergedError, train

__all__ = ["main", "make_console", "open_images", "reported_errors"]

EXAMPLES = f"""
Learns image embeddings from unlabelled images.

Named sources: {", ".join(SOURCES)}. Anything else is a folder of images or an .npz file.

Presets: {", ".join(preset_names())}.

Examples:

  simvae-train fashion-mnist --preset demo --out runs/demo

  simvae-train ~/photos --preset folder --out runs/photos --set images.size=96 --set epochs=50

  simvae-train --resume runs/photos

  torchrun --nproc-per-node 4 $(which simvae-train) ~/photos --out runs/photos    (four GPUs; same result)
"""


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(add_completion=False)
    app.command(help=EXAMPLES)(train_command)
    app()


def make_console() -> Console:
    """Stderr, with words as they are: a path in brackets is no markup."""
    return Console(stderr=True, highlight=False, markup=False)


@contextlib.contextmanager
def reported_errors(console: Console, *others: type[Exception]) -> Iterator[None]:
    """Turns errors that are the user's to mend into one line and exit code 1.

    Args:
        console: Where the line goes.
        others: More such errors than those of training.
    """
    own = (DataError, RunError, CheckpointError, DivergedError)
    expected: tuple[type[Exception], ...] = (*own, ValueError, OSError, *others)
    try:
        yield
    except expected as error:
        console.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        raise typer.Exit(1) from error


def open_images(record: RunRecord, data_dir: Path | None, cache_dir: Path | None) -> Source:
    """Opens the images of an existing run again.

    Args:
        record: The run's.
        data_dir: Where a named source's files are.
        cache_dir: Where a folder's decoded images are kept.

    Raises:
        DataError: They cannot be had, or are not as many as the run began with.
    """
    images = open_source(record.source, data_dir=data_dir, cache_dir=cache_dir, input_spec=record.input)
    if len(images.train) != record.images:
        raise DataError(
            f"{record.source}: expected the {record.images} training images the run began with, found "
            f"{len(images.train)}; restore the folder, or train again into another run."
        )
    return images


def train_command(
    source: Annotated[str | None, typer.Argument(help="A named source, a folder of images, or an .npz file.")] = None,
    preset: Annotated[str, typer.Option(help="A preset's name, or a TOML file.")] = "folder",
    out: Annotated[Path | None, typer.Option(help="The run directory to make.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A run directory to go on with; nothing else is needed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; overrides the preset.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random draw; overrides the preset.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other key, as section.key=value.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where a named source's files are.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where decoded, drawn or unpacked images are kept.")] = None,
) -> None:
    """Trains, or goes on training; see EXAMPLES."""
    console = make_console()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else it repeats the precision it was asked for
    with reported_errors(console):
        if resume is not None:
            if source is not None or out is not None or set_ or epochs is not None or seed is not None:
                raise ConfigError("--resume goes on with the run's own source and configuration; give it alone")
            run = RunDirectory(resume)
            record = run.record()
            fabric = make_fabric(device, record.config.optimiser.precision)
            with fabric.rank_zero_first():
                images = open_images(record, data_dir, cache_dir)
        else:
            if source is None or out is None:
                raise ConfigError("expected a source and --out, or --resume; simvae-train --help shows examples")
            run = RunDirectory(out)
            shortcuts = [f"{key}={value}" for key, value in (("epochs", epochs), ("seed", seed)) if value is not None]
            config = with_overrides(load_preset(preset), [*(set_ or []), *shortcuts])
            fabric = make_fabric(device, config.optimiser.precision)
            with fabric.rank_zero_first():  # of several processes one fetches, decodes and makes the run
                if fabric.is_global_zero:
                    run.refuse_existing()
                images = open_source(source, data_dir=data_dir, cache_dir=cache_dir, input_spec=_input_spec(config))
                record = _record(source, images, preset, config)
                if fabric.is_global_zero:
                    run.create(record)
        _train(run, record, images, fabric, console)


def _train(run: RunDirectory, record: RunRecord, images: Source, fabric: Fabric, errors: Console) -> None:
    console = errors if fabric.is_global_zero else Console(quiet=True)  # of several processes one speaks
    shape = "×".join(map(str, images.input.shape))
    labels = "unlabelled" if images.class_names is None else f"{len(images.class_names)} classes, for evaluation only"
    console.print(
        f"{len(images.train):,} images of {shape} to learn from, {len(images.test):,} held out, {labels}; "
        f"{record.config.epochs} epochs on {_where(fabric)}."
    )
    finished = _watched(run, record, images, fabric, console)
    leave_group()
    if not finished:
        console.print(f"Saved. Go on with: simvae-train --resume {shlex.quote(str(run.path))}", soft_wrap=True)
        raise typer.Exit(130)
    console.print(f"Done. Next: simvae-evaluate {shlex.quote(str(run.path))}", soft_wrap=True)


def _where(fabric: Fabric) -> str:
    return str(fabric.device) if fabric.world_size == 1 else f"{fabric.world_size} processes with {fabric.device.type}"


def _watched(run: RunDirectory, record: RunRecord, images: Source, fabric: Fabric, console: Console) -> bool:
    with stop_on_signals(console) as stop:
        if not fabric.is_global_zero:
            return train(run, record.config, images, fabric=fabric, stop=stop)
        done = load_checkpoint(run.checkpoint).step if run.checkpoint.exists() else 0
        with ConsoleObserver(console) as bar, TensorBoardObserver(run.path / "tensorboard", done) as board:
            return train(run, record.config, images, fabric=fabric, observers=(bar, board), stop=stop)


def _input_spec(config: Config) -> InputSpec:
    images = config.images
    return InputSpec(
        height=images.size,
        width=images.size,
        colour_mode=images.colour_mode,
        resize=images.resize,
        scaled_jpeg=images.scaled_jpeg,
    )


def _record(source: str, images: Source, preset: str, config: Config) -> RunRecord:
    name = source if source in SOURCES else str(Path(source).expanduser().resolve())
    return new_record(name, images, config, preset=preset, command=shlex.join(["simvae-train", *sys.argv[1:]]))
