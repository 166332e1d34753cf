"""Makes the sample images of the service's page: a few test images of the shipped sample, and one drawing.

python -m training.data.make_page_samples training/data/fashion-mnist-sample service/page/samples
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from service.engine.images import Pixels, encode_png
from training.datasets.idx import read_idx
from training.datasets.mnist import FASHION_MNIST

__all__ = ["CHOSEN", "main", "make_page_samples"]

CHOSEN = {
    "ankle-boot-1": ("Ankle boot", 5),
    "ankle-boot-2": ("Ankle boot", 9),
    "sneaker-1": ("Sneaker", 0),
    "sneaker-2": ("Sneaker", 8),
    "trousers-1": ("Trouser", 5),
    "trousers-2": ("Trouser", 7),
    "handbag-1": ("Bag", 8),
    "handbag-2": ("Bag", 1),
    "dress": ("Dress", 7),
    "t-shirt": ("T-shirt/top", 6),
    "high-heel": ("Sandal", 6),
}
"""Name of the file: its class, and which image of that class in the sample's test images."""

_SIZE, _FINE = 28, 4


def make_page_samples(source: Path, target: Path) -> None:
    """Writes a PNG for each image that was chosen, and `smiley.png`, which is nothing like them.

    Args:
        source: The folder of the shipped sample.
        target: Receives the images.

    Raises:
        DataError: The source is incomplete or damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    images = read_idx(source / "t10k-images-idx3-ubyte.gz", dimensions=3)
    labels = read_idx(source / "t10k-labels-idx1-ubyte.gz", dimensions=1)
    for file, (name, which) in CHOSEN.items():
        place = np.flatnonzero(labels == FASHION_MNIST.class_names.index(name))[which]
        (target / f"{file}.png").write_bytes(encode_png(images[place][..., None]))
    (target / "smiley.png").write_bytes(encode_png(_smiley()))


def _smiley() -> Pixels:
    image = Image.new("L", (_SIZE * _FINE, _SIZE * _FINE))
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, 102, 102), fill=200)
    draw.ellipse((34, 34, 46, 50), fill=10)
    draw.ellipse((66, 34, 78, 50), fill=10)
    draw.arc((30, 36, 82, 84), 20, 160, fill=10, width=7)
    return np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS))[..., None]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the shipped sample")
    parser.add_argument("target", type=Path, help="folder for the images")
    arguments = parser.parse_args()
    make_page_samples(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
