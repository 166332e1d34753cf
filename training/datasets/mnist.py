"""MNIST and FashionMNIST: where their four files are, what is in them, and how to get them.

Sources: LeCun, Cortes, Burges, "The MNIST database of handwritten digits". Xiao, Rasul, Vollgraf, "Fashion-MNIST: a
Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv 1708.07747; MIT licence, Copyright 2017
Zalando SE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.engine.images import InputSpec, Pixels
from training.datasets.download import download_from_any
from training.datasets.idx import read_idx
from training.datasets.image_set import DataError, ImageSet, Source
from training.datasets.places import Places

__all__ = ["FASHION_MNIST", "INPUT", "MNIST", "IdxFiles", "fetch_files", "holds_files", "open_idx", "read_folder"]

INPUT = InputSpec(height=28, width=28, colour_mode="L")
_TRAIN_SIZE = 60_000


@dataclass(frozen=True)
class IdxFiles:
    """A data set of the family; they all have files of the same names.

    Attributes:
        subfolders: What the folder of its files may be called; the first is the name of the data set.
        urls: Folders that hold the files, tried in this order.
        checksums: Of each file, as its authors publish it. Files found on disk are not held to it, because
            distributions compress them anew; their structure is checked instead.
        class_names: By label.
        balanced: Whether every class has as many training images as the next, by which the family is told apart.
    """

    subfolders: tuple[str, ...]
    urls: tuple[str, ...]
    checksums: Mapping[str, str]
    class_names: tuple[str, ...]
    balanced: bool

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.subfolders[0]


MNIST = IdxFiles(
    subfolders=("mnist", "MNIST/raw"),
    urls=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    checksums={
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
    class_names=tuple("0123456789"),
    balanced=False,
)

FASHION_MNIST = IdxFiles(
    subfolders=("fashion-mnist", "FashionMNIST/raw"),
    urls=("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",),
    checksums={
        "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    balanced=True,
)  # fmt: skip


def open_idx(files: IdxFiles, places: Places) -> Source:
    """Opens a data set of the family from where its files are found, or downloads them.

    Raises:
        DataError: The files cannot be had, are damaged, or are those of another data set.
    """
    words = f"{', '.join(files.checksums)}, or the same without .gz"
    folder = places.find_or_fetch(files.subfolders, words, holds_files, lambda target: fetch_files(files, target))
    return read_folder(files, folder)


def holds_files(folder: Path) -> bool:
    """Whether all four files are in a folder, each compressed or not."""
    return all(_path(folder, name).is_file() for name in MNIST.checksums)


def fetch_files(files: IdxFiles, folder: Path) -> None:
    """Downloads those of the files that a folder does not hold yet.

    Args:
        files: Names, checksums and addresses.
        folder: Where to put them; made if missing.

    Raises:
        DataError: A file cannot be downloaded, or is not the expected one.
    """
    for name, checksum in files.checksums.items():
        if not _path(folder, name).is_file():
            download_from_any([f"{url}/{name}" for url in files.urls], folder / name, checksum)


def read_folder(files: IdxFiles, folder: Path) -> Source:
    """Reads both splits: images of shape [N, 28, 28, 1] and labels 0 to 9.

    Args:
        files: Which data set the folder is said to hold.
        folder: Holds the four files.

    Raises:
        DataError: A file is damaged, images and labels do not belong together, or this is another data set.
    """
    train, test = (_read_split(files, folder, prefix) for prefix in ("train", "t10k"))
    return Source(files.name, INPUT, train, test, files.class_names)


def _read_split(files: IdxFiles, folder: Path, prefix: str) -> ImageSet:
    images = read_idx(_path(folder, f"{prefix}-images-idx3-ubyte.gz"), dimensions=3)
    labels = read_idx(_path(folder, f"{prefix}-labels-idx1-ubyte.gz"), dimensions=1)
    if images.shape[1:] != INPUT.shape[:2]:
        raise DataError(f"{folder}: expected images of 28 × 28 pixels, found {images.shape[1]} × {images.shape[2]}.")
    if len(images) != len(labels):
        raise DataError(f"{folder}: expected one label for each of {len(images):,} images, found {len(labels):,}.")
    if labels.size and labels.max() >= len(files.class_names):
        raise DataError(f"{folder}: expected labels of 0 to {len(files.class_names) - 1}, found {labels.max()}.")
    _check_balance(files, folder, labels)
    return ImageSet(images[..., np.newaxis], labels.astype(np.int64))


def _check_balance(files: IdxFiles, folder: Path, labels: Pixels) -> None:
    """Refuses the whole training split of the other data set, whose files have the same names and format."""
    if len(labels) != _TRAIN_SIZE:
        return
    if (len(set(np.bincount(labels).tolist())) == 1) != files.balanced:
        expected, found = ("equally", "differently") if files.balanced else ("differently", "equally")
        raise DataError(
            f"{folder}: expected the files of {files.name}, whose classes are {expected} large, found {found} large "
            f"ones: these are another data set's files of the same names; put {files.name} into a folder of its name."
        )


def _path(folder: Path, name: str) -> Path:
    """The file as it is there, compressed or not; the compressed one if both or none are there."""
    compressed, plain = folder / name, folder / name.removesuffix(".gz")
    return plain if plain.is_file() and not compressed.is_file() else compressed
