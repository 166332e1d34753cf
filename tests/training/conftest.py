"""What the training tests share: few threads, and small sources of images with no files behind them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from service.engine.images import InputSpec
from training.config import Config
from training.datasets.image_set import ImageSet, Source
from training.overrides import load_preset, with_overrides


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and two test processes on two cores lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    return with_overrides(load_preset("tiny"), ["optimiser.batch=32", "epochs=3"])


@pytest.fixture(scope="session")
def blobs() -> Source:
    """Bright squares on black, one class per corner: learnable in seconds."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 160)
    images = random.integers(0, 30, (160, 28, 28, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 2 + 14 * (label // 2), 2 + 14 * (label % 2)
        image[top : top + 10, left : left + 10] += 200
    spec = InputSpec(height=28, width=28, colour_mode="L")
    return Source(
        "blobs", spec, ImageSet(images[:128], labels[:128]), ImageSet(images[128:], labels[128:]), ("a", "b", "c", "d")
    )
