"""Makes the shipped sample: the first images of every class of FashionMNIST, in the order and format of the original.

python -m training.data.make_sample /usr/share/datasets/fashion-mnist training/data/fashion-mnist-sample
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.idx import read_idx, write_idx
from training.datasets.mnist import FASHION_MNIST

__all__ = ["first_of_each_class", "main", "make_sample"]

PER_CLASS = {"train": 160, "t10k": 40}


def first_of_each_class(labels: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
    """The positions of the first `count` items of every class, ascending."""
    return np.sort(
        np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(len(FASHION_MNIST.class_names))])
    )


def make_sample(source: Path, target: Path) -> None:
    """Writes the four idx.gz files of the sample, 1,600 images to train and 400 to test.

    Args:
        source: Holds the four files of FashionMNIST.
        target: Receives the four files of the sample.

    Raises:
        DataError: The source is incomplete or damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    for prefix, count in PER_CLASS.items():
        images, labels = f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"
        all_labels = read_idx(source / labels, dimensions=1)
        chosen = first_of_each_class(all_labels, count)
        write_idx(target / images, read_idx(source / images, dimensions=3)[chosen])
        write_idx(target / labels, all_labels[chosen])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the four files of FashionMNIST")
    parser.add_argument("target", type=Path, help="folder for the four files of the sample")
    arguments = parser.parse_args()
    make_sample(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
