"""`simvae-evaluate` with several runs, as a person runs it: in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.run_directory import RunDirectory

BIN = Path(sys.executable).parent


def command(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / name, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_runs_of_two_seeds_are_measured_and_averaged_and_of_one_seed_refused(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        run = tmp_path / f"seed{seed}"
        start = ["fashion-mnist-sample", "--preset", "tiny", "--epochs", "1", "--seed", seed, "--out", run]
        done = command("simvae-train", *start)
        assert done.returncode == 0, done.stderr
    runs = [tmp_path / "seed0", tmp_path / "seed1"]
    done = command("simvae-evaluate", *runs, "--no-baselines")
    assert done.returncode == 0, done.stderr
    assert "mean of 2 runs, seeds 0, 1" in done.stdout
    assert "over 2 seeds" in done.stdout
    found = [json.loads(RunDirectory(run).evaluation.read_text()) for run in runs]
    assert [content["seed"] for content in found] == [0, 1]
    mean = sum(content["representations"][0]["knn_cosine"] for content in found) / 2
    assert f"{mean:.4f} ±" in done.stdout
    again = command("simvae-evaluate", runs[0], runs[0])
    assert again.returncode == 1
    assert "expected runs of different seeds, found seeds 0, 0" in " ".join(again.stderr.split())
