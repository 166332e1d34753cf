"""How far a folder is: a bar, or whatever the caller makes of it."""

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["Progress", "told"]

Progress = bool | Callable[[int, int], None]
"""True for a bar on standard error; or a function that is told how many images are done, and of how many."""


@contextlib.contextmanager
def told(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is to be called with every number of images that is done.

    Raises:
        ModuleNotFoundError: A bar is wanted and rich is not installed.
    """
    if callable(progress):
        yield _counting(progress, total)
    elif progress:
        with _bar(total) as advance:
            yield advance
    else:
        yield lambda _count: None


def _counting(tell: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total)

    return advance


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, for those who want a bar
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415
    except ModuleNotFoundError as error:
        text = "progress=True needs rich: pip install 'simvae-client[progress]', or give a function (done, total)."
        raise ModuleNotFoundError(text, name=error.name) from error
    columns = TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
