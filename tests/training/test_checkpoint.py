"""A checkpoint comes back as it was written, and an earlier one survives whatever happens to the next."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint


def checkpoint(step: int, size: int = 10) -> Checkpoint:
    weights = {"weight": torch.full((size,), float(step))}
    return Checkpoint(step, weights, weights, {"state": {}, "param_groups": []}, {"elbo": torch.tensor(1.5)}, 2.5)


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint(3))
    found = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (found.step, found.elapsed_s, found.sums["elbo"].item()) == (3, 2.5, 1.5)
    torch.testing.assert_close(found.model["weight"], torch.full((10,), 3.0))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def _save_with_little_room(path: Path) -> None:
    """Runs in a process of its own: no file may grow beyond 64 KiB, as on a disk that is nearly full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
    try:
        save_checkpoint(path, checkpoint(2, size=100_000))
    except CheckpointError as error:
        sys.stdout.write(str(error))


def test_a_full_disk_loses_no_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint(1))
    script = (
        "import importlib.util, pathlib, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"spec = importlib.util.spec_from_file_location('here', {__file__!r})\n"
        "here = importlib.util.module_from_spec(spec); spec.loader.exec_module(here)\n"
        f"here._save_with_little_room(pathlib.Path({str(path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot write the checkpoint of step 2" in done.stdout
    assert "the earlier checkpoint there is untouched" in done.stdout
    assert load_checkpoint(path).step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_missing_damaged_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no file"):
        load_checkpoint(tmp_path / "nothing.pt")
    damaged = tmp_path / "damaged.pt"
    save_checkpoint(damaged, checkpoint(1))
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="found a damaged file"):
        load_checkpoint(damaged)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="expected checkpoint format 1, found None"):
        load_checkpoint(tmp_path / "foreign.pt")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"format": 1, "model": Malicious()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="damaged file"):
        load_checkpoint(tmp_path / "evil.pt")
