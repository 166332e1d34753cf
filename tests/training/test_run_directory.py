"""A run directory refuses to be overwritten, to be read wrongly, and to count an epoch twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.engine.images import InputSpec
from training.config import Config
from training.run_directory import RunDirectory, RunError, RunRecord, code_version, now, write_json

ROOT = Path(__file__).parents[2]


def record(config: Config) -> RunRecord:
    return RunRecord(
        source="here", input=InputSpec(height=28, width=28, colour_mode="L"), images=5, preset="tiny", config=config,
        code_version=code_version(), command="simvae-train", created=now(),
    )  # fmt: skip


def test_a_record_comes_back_as_it_was_written(tmp_path: Path, tiny_config: Config) -> None:
    run = RunDirectory(tmp_path / "a" / "run")
    run.create(record(tiny_config))
    assert run.record() == record(tiny_config).model_copy(update={"created": run.record().created})
    assert run.name == "run"


def test_a_record_from_before_scaled_decoding_says_that_there_was_none(tmp_path: Path, tiny_config: Config) -> None:
    run = RunDirectory(tmp_path)
    content = record(tiny_config).model_dump(mode="json")
    del content["config"]["images"]["scaled_jpeg"]
    assert "scaled_jpeg" not in json.dumps(content)
    write_json(run.config, content)
    assert not run.record().input.scaled_jpeg


def test_an_existing_run_is_left_alone(tmp_path: Path, tiny_config: Config) -> None:
    run = RunDirectory(tmp_path)
    run.create(record(tiny_config))
    with pytest.raises(RunError, match="--resume"):
        run.create(record(tiny_config))


def test_a_missing_or_broken_record_says_which_file(tmp_path: Path, tiny_config: Config) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RunError, match=r"config\.json: expected a run's configuration"):
        run.record()
    write_json(tmp_path / "config.json", {**record(tiny_config).model_dump(mode="json"), "images": "many"})
    with pytest.raises(RunError, match=r"config\.json: expected a valid images"):
        run.record()


def test_metrics_after_a_step_can_be_forgotten(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.read_metrics() == []
    run.forget_metrics_after(1)
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
    run.forget_metrics_after(2)
    assert run.read_metrics() == [{"step": 1}, {"step": 2}]


LITTLE_ROOM = """
import pathlib, resource, signal, sys
from training.run_directory import RunDirectory, RunError, write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))
run = RunDirectory(pathlib.Path(sys.argv[1]))
for write in (lambda: run.append_metrics({"step": 400}), lambda: write_json(run.evaluation, {"rows": "x" * 5_000})):
    try:
        write()
    except RunError as error:
        print(error)
"""
"""For a process of its own: no file may grow beyond 4 KiB, as on a disk that is full."""


def test_a_full_disk_leaves_metrics_and_evaluation_as_they_were(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step in range(300):
        with run.metrics.open("a") as file:
            file.write(f'{{"step": {step}}}\n')
    run.evaluation.write_text("earlier")
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM, tmp_path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for file in ("metrics.jsonl", "evaluation.json"):
        assert f"{file}: expected to write it, found: File too large; what was there is untouched." in done.stdout
    assert run.read_metrics()[-1] == {"step": 299}
    assert run.evaluation.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, tiny_config: Config) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="expected to make a run directory, found: Not a directory; give another --out"):
        RunDirectory(tmp_path / "file" / "run").create(record(tiny_config))
