"""A run directory refuses to be overwritten, to be read wrongly, and to count an epoch twice."""

from pathlib import Path

import pytest

from service.engine.images import InputSpec
from training.config import Config
from training.run_directory import RunDirectory, RunError, RunRecord, code_version, now, write_json


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
