"""The sample images of the service's page are those that the committed script makes of the committed data."""

from pathlib import Path

import numpy as np
from PIL import Image

from training.data.make_page_samples import make_page_samples

ROOT = Path(__file__).parents[2]


def test_the_committed_samples_are_what_the_script_makes(tmp_path: Path) -> None:
    make_page_samples(ROOT / "training/data/fashion-mnist-sample", tmp_path)
    committed = sorted((ROOT / "service/page/samples").glob("*.png"))
    assert [file.name for file in committed] == sorted(file.name for file in tmp_path.iterdir())
    for file in committed:
        np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(tmp_path / file.name)))
