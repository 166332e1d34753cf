"""The entry point of `simvae-export`; see `training.commands`."""

from training.commands import run_command

__all__ = ["export"]


def export() -> None:
    """`simvae-export`."""
    run_command("export.cli", "train,export")
