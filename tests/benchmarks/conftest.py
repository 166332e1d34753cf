"""A workload that needs no training, where the scripts look for one that was made before."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.engine.images import encode_png


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """What `--folder` takes: the workload `mlp28`, with the small bundle and as many images as workloads have."""
    place = tmp_path_factory.mktemp("benchmarks")
    images = place / "images" / "mlp28"
    images.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (256, 28, 28, 1), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (images / f"{number:03}.png").write_bytes(encode_png(image))
    shutil.copytree(tiny_bundle, place / "models" / "mlp28" / "1")
    return place
