"""Order and randomness depend on the seed and the step alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

import training.batches
from training.batches import epoch_order, fetcher, generator_for, images_per_step, steps_per_epoch

CPU = torch.device("cpu")


def test_an_epoch_sees_each_image_at_most_once_in_full_batches() -> None:
    order = epoch_order(103, 10, seed=0, epoch=0)
    assert order.shape == (10, 10)
    assert len(order.flatten().unique()) == 100
    assert steps_per_epoch(103, 10) == 10


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert epoch_order(7, 10, seed=0, epoch=0).shape == (1, 7)
    assert steps_per_epoch(7, 10) == 1


@pytest.mark.parametrize(("images", "batch"), [(60_000, 256), (4_096, 256), (4_095, 255), (173, 10), (16, 1), (2, 1)])
def test_a_small_set_takes_smaller_batches_rather_than_few_steps(images: int, batch: int) -> None:
    assert images_per_step(images, 256) == batch


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = [epoch_order(50, 50, seed=seed, epoch=epoch)[0].tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == epoch_order(50, 50, seed=0, epoch=0)[0].tolist()


def test_no_two_purposes_steps_or_seeds_share_a_stream() -> None:
    draws = {
        torch.rand(2, generator=generator_for(CPU, seed, purpose, index)).tolist()[0]
        for seed in range(5)
        for purpose in ("weights", "order", "step", "held-out")
        for index in range(50)
    }
    assert len(draws) == 5 * 4 * 50


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_small_and_memory_mapped_images_are_fetched_alike(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    indices = torch.tensor([3, 0, 19, 3])
    small = fetcher(images, torch.device(device))(indices)
    monkeypatch.setattr(training.batches, "_RESIDENT_BYTES", 0)
    torch.testing.assert_close(fetcher(mapped, torch.device(device))(indices), small)
    assert small.device.type == device
    assert small.tolist() == images[indices].tolist()
