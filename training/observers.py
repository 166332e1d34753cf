"""Who watches a run: a progress bar with a line per epoch, TensorBoard, and the person who presses Ctrl-C."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

__all__ = ["ConsoleObserver", "TensorBoardObserver", "stage_bar", "stop_on_signals"]


_FIGURES = {
    "elbo": ("ELBO", "9.2f"),
    "loss": ("loss", "9.4f"),
    "held_out_elbo": ("held out", "9.2f"),
    "held_out_loss": ("held out", "9.4f"),
    "held_out_squared_error": ("error", ".4f"),
    "active_units": ("active units", ".0f"),
}


class ConsoleObserver:
    """A progress bar over steps, and a line of figures after every epoch; use as a context manager.

    Args:
        console: Where to write; stderr keeps stdout free.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("training", total=None)
        self._warned: set[str] = set()

    def __enter__(self) -> "ConsoleObserver":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, step: int, total: int) -> None:
        """Moves the bar."""
        self._progress.update(self._task, completed=step, total=total)

    def epoch(self, row: dict[str, float], warnings: list[str]) -> None:
        """Prints the figures that say how the run goes, and each new kind of trouble once."""
        figures = ", ".join(f"{label} {row[name]:{form}}" for name, (label, form) in _FIGURES.items() if name in row)
        self._print(f"epoch {row['epoch']:>4.0f}  {figures}")
        for warning in warnings:
            if warning not in self._warned:
                self._print(f"warning: {warning}")
        self._warned.update(warnings)

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)


class TensorBoardObserver:
    """Writes every number of an epoch's metrics to TensorBoard.

    Args:
        directory: For the event files.
        step: Steps done; what an earlier sitting wrote of later ones is hidden.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def __enter__(self) -> "TensorBoardObserver":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def step(self, step: int, total: int) -> None:
        """Nothing: an epoch is fine enough."""

    def epoch(self, row: dict[str, float], _warnings: list[str]) -> None:
        """Adds one point to every curve."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()


@contextlib.contextmanager
def stage_bar(console: Console, stages: int) -> Iterator[Callable[[str], None]]:
    """A progress bar over work whose parts are known by name only.

    Args:
        console: Where to write.
        stages: How many parts there are.

    Yields:
        What to call with each part's name as it begins.
    """
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=stages, completed=-1)
        yield lambda name: progress.update(task, description=name, advance=1)


@contextlib.contextmanager
def stop_on_signals(console: Console) -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a polite request to stop; a second Ctrl-C is not caught any more.

    Yields:
        Whether a stop was asked for.
    """
    requested = False

    def request(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        signal.signal(number, previous[signal.Signals(number)])
        console.print("Stopping after this step; the run will be saved …")

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
