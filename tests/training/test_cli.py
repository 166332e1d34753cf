"""The command lines of training, run as a person runs them: in a process of their own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.run_directory import RunDirectory

BIN = Path(sys.executable).parent


def command(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / name, *arguments], capture_output=True, text=True, check=False)


def words(text: str) -> str:
    """Without the line breaks that a narrow terminal makes."""
    return " ".join(text.split())


@pytest.mark.slow
def test_train_stop_resume_and_evaluate(tmp_path: Path) -> None:
    run = tmp_path / "run"
    start = [BIN / "simvae-train", "fashion-mnist-sample", "--preset", "tiny", "--out", run, "--epochs", "40"]
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Go on with: simvae-train --resume {run}\n" in stderr  # unbroken, to be copied
    stopped = len(RunDirectory(run).read_metrics())
    assert 1 <= stopped < 40

    config = json.loads((run / "config.json").read_text())
    config["config"]["epochs"] = stopped + 1
    (run / "config.json").write_text(json.dumps(config))
    resumed = command("simvae-train", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert [row["epoch"] for row in RunDirectory(run).read_metrics()] == list(range(1, stopped + 2))
    assert list((run / "tensorboard").iterdir())

    evaluated = command("simvae-evaluate", run)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "raw pixels" in evaluated.stdout
    assert json.loads((run / "evaluation.json").read_text())["representations"][2]["name"] == "PCA"
    assert (run / "report.html").is_file()
    assert {"reconstructions.png", "samples.png"} <= {picture.name for picture in (run / "report").iterdir()}


@pytest.mark.parametrize("entry", ["training.commands import train", "export.commands import export"])
def test_a_missing_dependency_is_one_sentence(entry: str) -> None:
    code = f"import sys; sys.modules['lightning_fabric'] = None; from {entry} as command; command()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lightning_fabric is needed and not installed; run make install" in words(done.stderr)
    assert "Traceback" not in done.stderr


def test_a_run_is_never_written_over_and_that_is_said_before_any_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = command("simvae-train", "no-such-folder", "--preset", "tiny", "--out", tmp_path)
    assert done.returncode == 1
    assert "found one; give another --out" in words(done.stderr)
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a source and --out, or --resume"),
        (["no-such-folder", "--out", "x"], "expected a source (mnist, fashion-mnist"),
        (
            ["fashion-mnist-sample", "--out", "x", "--preset", "huge"],
            "expected a preset (demo, fashion, folder, paper, tiny)",
        ),
        (
            ["fashion-mnist-sample", "--out", "x", "--set", "objective.rho=2"],
            "objective.rho: expected a number between 0 and 1",
        ),
        (["photos [of/old]", "--out", "x"], "photos [of/old]: expected a source"),
        (["fashion-mnist-sample", "--out", "/dev/null/x"], "/dev/null/x: expected to make a run directory"),
        (["--resume", "no-such-run"], "expected a run's configuration"),
        (["--resume", "x", "--epochs", "3"], "give it alone"),
        (["fashion-mnist-sample", "--out", "x", "--device", "tpu"], "expected a device of auto, cpu, cuda"),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = subprocess.run([BIN / "simvae-train", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert message in words(done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_images_changed_is_not_resumed_silently(tmp_path: Path) -> None:
    photos, run, cache = tmp_path / "photos", tmp_path / "run", tmp_path / "cache"
    photos.mkdir()
    random = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(photos / f"{number}.png")
    settings = ["--set", "images.size=28", "--set", "network.width=4", "--epochs", "1", "--cache-dir", str(cache)]
    trained = command("simvae-train", photos, "--preset", "folder", "--out", run, *settings)
    assert trained.returncode == 0, trained.stderr
    (photos / "3.png").unlink()
    resumed = command("simvae-train", "--resume", run, "--cache-dir", cache)
    assert resumed.returncode == 1
    assert "training images the run began with" in words(resumed.stderr)


@pytest.mark.parametrize("is_scaled", [True, False])
def test_a_folders_jpegs_are_decoded_as_the_configuration_says_and_again_when_resumed(
    tmp_path: Path, is_scaled: bool
) -> None:
    """Whole, they are what runs recorded before there was a choice, and what those resume with."""
    photos, run, cache = tmp_path / "photos", tmp_path / "run", tmp_path / "cache"
    photos.mkdir()
    random = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(random.integers(0, 255, (120, 130, 3), dtype=np.uint8)).save(photos / f"{number}.jpg")
    small = ["--set", "images.size=28", "--set", "network.width=4", "--epochs", "1", "--cache-dir", str(cache)]
    choice = [] if is_scaled else ["--set", "images.scaled_jpeg=false"]
    trained = command("simvae-train", photos, "--preset", "folder", "--out", run, *small, *choice)
    assert trained.returncode == 0, trained.stderr
    assert RunDirectory(run).record().input.scaled_jpeg == is_scaled

    record = json.loads((run / "config.json").read_text())
    assert ("scaled_jpeg" in record["input"]) == is_scaled
    del record["config"]["images"]["scaled_jpeg"]
    record["config"]["epochs"] = 2
    (run / "config.json").write_text(json.dumps(record))
    resumed = command("simvae-train", "--resume", run, "--cache-dir", cache)
    assert resumed.returncode == 0, resumed.stderr
    assert len(RunDirectory(run).read_metrics()) == 2
    assert len(list(cache.iterdir())) == 1
