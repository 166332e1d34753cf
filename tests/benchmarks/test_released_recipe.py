"""What the benchmarks compare with is the recipe as it was released: its slips are wanted, others would be ours."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

_FILE = Path(__file__).parents[2] / "benchmarks" / "released_recipe.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("released_recipe", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loss_is_the_sum_over_images_and_views_written_out(recipe: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    views, reconstruction = torch.rand(2, 3, 2, 1, 5, 5, generator=generator, dtype=torch.float64)
    log_var, latents = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    expected = 0.0
    for image in range(3):
        centre = (latents[image, 0] + latents[image, 1]) / 2
        expected += 0.5 * float(centre @ centre)
        for view in range(2):
            x, p = views[image, view], reconstruction[image, view]
            expected -= math.exp(4.6) * float((x * p.log() + (1 - x) * (1 - p).log()).sum())
            expected -= math.pi * float(log_var[image, view].sum())
            expected += float((latents[image, view] - centre).square().sum()) / (2 * 0.15)
    assert float(recipe.released_loss(views, reconstruction, log_var, latents)) == pytest.approx(expected, rel=1e-12)


def test_an_image_gives_two_different_views_of_its_own_shape_in_the_range_of_pixels(recipe: ModuleType) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), np.uint8)
    views = recipe.OneByOneViews(image)[0]
    assert views.shape == (2, 1, 28, 28)
    assert views.dtype == torch.float32
    assert 0 <= views.min() < views.max() <= 1
    assert not torch.equal(views[0], views[1])


def test_crops_lie_in_the_image_and_cover_two_fifths_of_it_at_least(recipe: ModuleType) -> None:
    for _ in range(2_000):
        left, top, width, height = recipe._crop_box(28, 28)
        assert 0 <= left <= 28 - width
        assert 0 <= top <= 28 - height
        assert width * height >= 0.4 * 28 * 28 - width - height  # sides are rounded to pixels
        assert width / height == pytest.approx(1, abs=0.42)


def test_the_networks_are_the_papers_mlps(recipe: ModuleType) -> None:
    model = recipe.ReleasedMlp()
    encoder = 784 * 2000 + 2000 + 2000 * 500 + 500 + 500 * 500 + 500 + 500 * 20 + 20
    decoder = 10 * 500 + 500 + 500 * 500 + 500 + 500 * 2000 + 2000 + 2000 * 784 + 784
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder
