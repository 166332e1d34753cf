"""FashionMNIST: where its four files are, what is in them, and how to get them.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv 1708.07747; MIT licence, Copyright 2017 Zalando SE.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from service.engine.images import InputSpec
from training.datasets.download import download
from training.datasets.idx import read_idx
from training.datasets.image_set import DataError, ImageSet

__all__ = ["CLASS_NAMES", "FILES", "INPUT", "URL", "fetch_files", "find_files", "read_split"]

URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
"""SHA-256 of each file as its authors publish it. Files found on disk are not held to it, because distributions
compress them anew; their structure is checked instead."""

INPUT = InputSpec(height=28, width=28, colour_mode="L")
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def find_files(folders: Sequence[Path]) -> Path | None:
    """The first folder that holds all four files, itself or in its subfolder `fashion-mnist`; None if none does."""
    candidates = (place for folder in folders for place in (folder, folder / "fashion-mnist"))
    return next((place for place in candidates if all((place / name).is_file() for name in FILES)), None)


def fetch_files(folder: Path, *, url: str = URL, files: Mapping[str, str] = FILES) -> None:
    """Downloads those of the files that a folder does not hold yet.

    Args:
        folder: Where to put them; made if missing.
        url: The address of the folder that holds the files.
        files: Names and SHA-256 hashes.

    Raises:
        DataError: A file cannot be downloaded, or is not the expected one.
    """
    for name, sha256 in files.items():
        if not (folder / name).is_file():
            download(f"{url}/{name}", folder / name, sha256)


def read_split(folder: Path, prefix: str) -> ImageSet:
    """Reads the images and labels of one split.

    Args:
        folder: Holds the four files.
        prefix: `train` or `t10k`.

    Returns:
        Images of shape [N, 28, 28, 1] and labels 0 to 9.

    Raises:
        DataError: A file is damaged, or images and labels do not belong together.
    """
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", dimensions=3)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", dimensions=1)
    if images.shape[1:] != INPUT.shape[:2]:
        raise DataError(f"{folder}: expected images of 28 × 28 pixels, found {images.shape[1]} × {images.shape[2]}.")
    if len(images) != len(labels):
        raise DataError(f"{folder}: expected one label for each of {len(images):,} images, found {len(labels):,}.")
    if labels.size and labels.max() >= len(CLASS_NAMES):
        raise DataError(f"{folder}: expected labels of 0 to {len(CLASS_NAMES) - 1}, found {labels.max()}.")
    return ImageSet(images[..., np.newaxis], labels.astype(np.int64))
