"""Runs as operating systems treat them: killed at any moment, or shared by several processes."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint, load_checkpoint

BIN = Path(sys.executable).parent
TORCHRUN = [BIN / "torchrun", "--standalone", "--nproc-per-node", "2"]


def start(run: Path, *settings: str, epochs: int) -> list[str | Path]:
    keys = [word for setting in settings for word in ("--set", setting)]
    return ["fashion-mnist-sample", "--preset", "tiny", "--out", run, "--epochs", str(epochs), "--device", "cpu", *keys]


def complete(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def both(folder: Path, settings: tuple[str, ...]) -> tuple[Path, Path]:
    """The same run in one process and in two."""
    one, two = folder / "one", folder / "two"
    complete(BIN / "simvae-train", *start(one, *settings, epochs=1))
    complete(*TORCHRUN, BIN / "simvae-train", *start(two, *settings, epochs=1))
    return one, two


def rows(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "elapsed_s"} for line in lines]


def assert_same(one: Checkpoint, other: Checkpoint, tolerance: float = 0.0) -> None:
    assert one.step == other.step
    for first, second in ((one.model, other.model), (one.ema, other.ema)):
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_left_alone(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    complete(BIN / "simvae-train", *start(alone, epochs=30))
    moments = random.Random(0)
    arguments = start(killed, epochs=30)
    for _ in range(3):
        with subprocess.Popen([BIN / "simvae-train", *arguments], stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            known = len(rows(killed)) if (killed / "metrics.jsonl").exists() else 0
            while not (killed / "metrics.jsonl").exists() or len(rows(killed)) == known:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
        arguments = ["--resume", killed, "--device", "cpu"]
    assert load_checkpoint(killed / "checkpoint.pt").step < load_checkpoint(alone / "checkpoint.pt").step
    complete(BIN / "simvae-train", *arguments)
    assert_same(load_checkpoint(alone / "checkpoint.pt"), load_checkpoint(killed / "checkpoint.pt"))
    assert rows(killed) == rows(alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("objective.sigma_x=optimal", "objective.rho=per-dimension"),
        ("objective.posterior=structured", "objective.sigma_x=learned"),
    ],
    ids=["optimal", "structured"],
)
def test_two_processes_train_the_model_that_one_would(settings: tuple[str, ...], tmp_path: Path) -> None:
    """The batch, its views and its noise are the same; sums are taken in another order."""
    one, two = both(tmp_path, settings)
    assert_same(load_checkpoint(one / "checkpoint.pt"), load_checkpoint(two / "checkpoint.pt"), tolerance=2e-4)
    assert set(rows(one)[0]) == set(rows(two)[0])
    for name, value in rows(one)[0].items():
        assert rows(two)[0][name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["vicreg", "simclr"])
def test_two_processes_contrast_the_whole_batch(objective: str, tmp_path: Path) -> None:
    """Batch normalisation and Adam make much of the order of sums, so only losses are compared here; that gradients are
    equal is shown in `test_distributed.py`. Half a batch in each process would have other losses."""
    one, two = (rows(run)[0] for run in both(tmp_path, (f"objective.name={objective}",)))
    assert one.keys() == two.keys()
    assert two["loss"] == pytest.approx(one["loss"], rel=5e-3)


@pytest.mark.slow
def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    command = [*TORCHRUN, BIN / "simvae-train", *start(tmp_path / "run", "optimiser.batch=126", epochs=1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "expected a batch that 2 processes can share equally, found 63 images per step" in " ".join(
        done.stderr.split()
    )
