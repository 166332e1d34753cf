"""A run trained for seconds on the shipped sample, and the bundle it becomes; made once for all tests here."""

from pathlib import Path

import pytest

from export.bundle_writer import Exported, export_run
from training.build import make_fabric
from training.datasets.image_set import Source
from training.datasets.sources import open_source
from training.overrides import load_preset, with_overrides
from training.run_directory import RunDirectory, new_record
from training.trainer import train


@pytest.fixture(scope="session")
def sample() -> Source:
    return open_source("fashion-mnist-sample")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, sample: Source) -> RunDirectory:
    config = with_overrides(load_preset("tiny"), ["network.decoder=mlp", "network.decoder_hidden=[64]", "epochs=3"])
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "sample")
    command = "simvae-train fashion-mnist-sample --preset tiny"
    directory.create(new_record("fashion-mnist-sample", sample, config, preset="tiny", command=command))
    assert train(directory, config, sample, fabric=make_fabric("cpu", "32-true"))
    return directory


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, run: RunDirectory, sample: Source) -> Exported:
    target: Path = tmp_path_factory.mktemp("models") / "sample"
    return export_run(run, target, sample)
