"""How many views a second each way of making them gives: ours, grid sampling, kornia, and Pillow one by one.

    python benchmarks/views.py            # kornia's row needs: pip install kornia

All crop, resize and mirror 28 × 28 grey images; medians of interleaved rounds, on the number of threads torch has.
"""

import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from training.config import ViewsConfig
from training.views import crop_boxes, make_views

BATCH, ROUNDS = 512, 15
CONFIG = ViewsConfig(count=1)


def main() -> None:
    """Times every way and prints a table."""
    images = torch.randint(0, 256, (BATCH, 28, 28, 1), dtype=torch.uint8)
    ways: dict[str, Callable[[], object]] = {
        "one matrix per axis (training/views.py)": matrices(images),
        "affine grid and grid sampling": grid_sampling(images),
        "Pillow, one by one": pillow(images),
    }
    try:
        ways["kornia RandomResizedCrop + flip"] = kornia(images)
    except ImportError:
        print("kornia is not installed, its row is missing")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, make in ways.items():
            start = time.perf_counter()
            make()
            seconds[name].append(time.perf_counter() - start)
    print(f"{BATCH} views a batch, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, times in sorted(seconds.items(), key=lambda item: statistics.median(item[1])):
        print(f"{name:<42}{BATCH / statistics.median(times):>12,.0f} views/s")


def matrices(images: torch.Tensor) -> Callable[[], object]:
    """What training does."""
    generator = torch.Generator().manual_seed(0)
    return lambda: make_views(images, CONFIG, generator)


def grid_sampling(images: torch.Tensor) -> Callable[[], object]:
    """The same views by torch's own warping."""
    generator = torch.Generator().manual_seed(0)

    def make() -> torch.Tensor:
        top, left, height, width = crop_boxes(len(images), 1.0, CONFIG, generator).unbind(1)
        mirror = torch.where(torch.rand(len(images), generator=generator) < CONFIG.flip, -1.0, 1.0)
        theta = torch.zeros(len(images), 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
        theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
        pixels = images.permute(0, 3, 1, 2).float() / 255
        grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
        return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)

    return make


def kornia(images: torch.Tensor) -> Callable[[], object]:
    """The library for augmentation on the device."""
    from kornia import augmentation  # noqa: PLC0415  # optional

    crop = augmentation.RandomResizedCrop((28, 28), CONFIG.crop_area, CONFIG.crop_aspect)
    flip = augmentation.RandomHorizontalFlip(CONFIG.flip)
    return lambda: flip(crop(images.permute(0, 3, 1, 2).float() / 255))


def pillow(images: torch.Tensor) -> Callable[[], object]:
    """The way of a loader with a transform per image."""
    pictures = [Image.fromarray(image) for image in images[..., 0].numpy()]
    rng = random.Random(0)  # noqa: S311  # views are no secret

    def one(picture: Image.Image) -> np.ndarray:
        side = 28 * rng.uniform(*CONFIG.crop_area) ** 0.5
        left, top = rng.uniform(0, 28 - side), rng.uniform(0, 28 - side)
        view = picture.resize((28, 28), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        if rng.random() < CONFIG.flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(view, np.float32) / np.float32(255)

    return lambda: torch.from_numpy(np.stack([one(picture) for picture in pictures]))


if __name__ == "__main__":
    main()
