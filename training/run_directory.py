"""The run directory: where a run's configuration, checkpoint, metrics and report lie, and how each is written."""

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from service.engine.images import InputSpec
from training.config import Config
from training.datasets.image_set import Source
from training.files import written_whole

__all__ = ["RunDirectory", "RunError", "RunRecord", "code_version", "new_record", "now", "write_json"]


class RunError(Exception):
    """A run directory that cannot be used; the message says what to do."""


class RunRecord(BaseModel):
    """`config.json`: everything needed to repeat the run.

    Attributes:
        source: The data, as given on the command line: a name, or the absolute path of a folder.
        input: How images become pixels.
        images: How many were trained on.
        preset: The preset the configuration began as.
        config: The configuration, after overrides.
        code_version: Version of this project, with the commit where git knows it.
        command: What repeats the run.
        created: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    input: InputSpec
    images: int
    preset: str
    config: Config
    code_version: str
    command: str
    created: str


def new_record(source: str, images: Source, config: Config, *, preset: str, command: str) -> RunRecord:
    """The record of a run that begins now, with the code as it is.

    Args:
        source: The data's name, or the absolute path of a folder.
        images: What it was opened as.
        config: The configuration, after overrides.
        preset: The preset it began as.
        command: What repeats the run.
    """
    return RunRecord(
        source=source,
        input=images.input,
        images=len(images.train),
        preset=preset,
        config=config,
        code_version=code_version(),
        command=command,
        created=now(),
    )


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run, and the files that are small."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def config(self) -> Path:
        """`config.json`."""
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        """`checkpoint.pt`."""
        return self.path / "checkpoint.pt"

    @property
    def metrics(self) -> Path:
        """`metrics.jsonl`, one object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        """`evaluation.json`."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The folder of pictures."""
        return self.path / "report"

    def refuse_existing(self) -> None:
        """Raises RunError if a run is there already."""
        if self.config.exists():
            raise RunError(
                f"{self.path}: expected no run there yet, found one; give another --out, or --resume {self.path}."
            )

    def create(self, record: RunRecord) -> None:
        """Makes the directory and writes `config.json`.

        Raises:
            RunError: A run is there already, and nothing of it is touched; or it cannot be written.
        """
        self.refuse_existing()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path}: expected to make a run directory, found: {error.strerror}; give another --out."
            ) from error
        write_json(self.config, record.model_dump(mode="json"))

    def record(self) -> RunRecord:
        """Reads `config.json`.

        Raises:
            RunError: Missing or not valid.
        """
        try:
            return RunRecord.model_validate_json(self.config.read_bytes())
        except OSError as error:
            raise RunError(f"{self.config}: expected a run's configuration, found {error.strerror}.") from error
        except ValidationError as error:
            problem = error.errors()[0]
            raise RunError(
                f"{self.config}: expected a valid {'.'.join(map(str, problem['loc']))}: {problem['msg']}."
            ) from error

    def append_metrics(self, row: Mapping[str, float]) -> None:
        """Adds one line to `metrics.jsonl`, all or nothing: half a line could not be read again.

        Raises:
            RunError: It cannot be written; the lines before are untouched.
        """
        self._write_metrics([*self.read_metrics(), row])

    def read_metrics(self) -> list[dict[str, float]]:
        """All lines of `metrics.jsonl`; none when there is no file yet."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def forget_metrics_after(self, step: int) -> None:
        """Drops lines written after the checkpoint from which a run resumes."""
        if self.metrics.exists():
            self._write_metrics([row for row in self.read_metrics() if row["step"] <= step])

    def _write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        _replace(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes indented JSON, all or nothing.

    Raises:
        RunError: It cannot be written; an earlier file is untouched.
    """
    _replace(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def code_version() -> str:
    """This project's version, and the commit when it runs from a git checkout."""
    version = importlib.metadata.version("simvae")
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{commit}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _replace(path: Path, text: str) -> None:
    try:
        with written_whole(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise RunError(
            f"{path}: expected to write it, found: {error.strerror}; what was there is untouched."
        ) from error
