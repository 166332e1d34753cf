"""A run trained for seconds on the shipped sample, and the bundle it becomes; made once for all tests here."""

from pathlib import Path

import pytest

from export.bundle_writer import Exported, export_run
from training.build import make_fabric
from training.datasets.image_set import Source
from training.datasets.sources import open_source
from training.overrides import load_preset, with_overrides
from training.run_directory import RunDirectory, RunRecord, code_version, now
from training.trainer import train


@pytest.fixture(scope="session")
def sample() -> Source:
    return open_source("fashion-mnist-sample")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, sample: Source) -> RunDirectory:
    config = with_overrides(load_preset("tiny"), ["network.decoder=mlp", "network.decoder_hidden=[64]", "epochs=3"])
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "sample")
    directory.create(
        RunRecord(
            source="fashion-mnist-sample",
            input=sample.input,
            images=len(sample.train),
            preset="tiny",
            config=config,
            code_version=code_version(),
            command="simvae-train fashion-mnist-sample --preset tiny",
            created=now(),
        )
    )
    assert train(directory, config, sample, fabric=make_fabric("cpu", "32-true"))
    return directory


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, run: RunDirectory, sample: Source) -> Exported:
    target: Path = tmp_path_factory.mktemp("models") / "sample"
    return export_run(run, target, sample)
