"""The commands' entry points: a sign of life while torch is imported, and one sentence if it is not installed."""

import importlib
import sys

from rich.console import Console

__all__ = ["compare", "evaluate", "run_command", "train"]

_OWN = {"training", "export", "service"}


def train() -> None:
    """`simvae-train`."""
    run_command("training.cli", "train")


def evaluate() -> None:
    """`simvae-evaluate`."""
    run_command("training.evaluation.cli", "train")


def compare() -> None:
    """`simvae-compare`."""
    run_command("training.report.cli", "train")


def run_command(module: str, extra: str) -> None:
    """Imports a command's module, which takes seconds, and runs its `main`.

    Args:
        module: Its full name.
        extra: The extra of this project that installs what it needs.
    """
    try:
        with Console(stderr=True).status("loading torch"):
            main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OWN:
            raise
        sys.exit(
            f"error: {missing} is needed and not installed; run make install, or pip install 'simvae[cpu,{extra}]'."
        )
    main()
