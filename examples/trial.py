"""What the stores here are tried on: FashionMNIST through a running service, and its true neighbours by brute force.

Every script beside this one stores the embeddings of some test images in a system of its own, asks it for the
neighbours of others, and says how many of the true ones it found:

    make serve
    python examples/qdrant_store.py
    python examples/qdrant_store.py --data FOLDER --images 10000     with FashionMNIST's own files in the folder
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simvae_client import Client, Embeddings

__all__ = ["arguments", "nearest", "read_images", "report", "run"]

SAMPLE = Path(__file__).resolve().parents[1] / "training" / "data" / "fashion-mnist-sample"
HEADER_BYTES = 16
NEIGHBOURS = 10

Search = Callable[[Embeddings, Embeddings, int, str], list[list[int]]]


def run(search: Search, place: str) -> None:
    """Stores, asks, compares and prints.

    Args:
        search: Stores the rows of the first, and gives for every row of the second so many rows of the first, nearest
            first, by cosine; in the store at a place.
        place: Where the store is, unless the command line says otherwise.
    """
    options = arguments(place)
    images, queries = read_images(options.data, options.images)
    with Client(options.url) as client:
        known, asked = (client.embed(some, normalize=True) for some in (images, queries))
    report(search(known, asked, NEIGHBOURS, options.place), known, asked)


def arguments(place: str) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--url", default="http://localhost:8000", help="of the service")
    parser.add_argument(
        "--images", type=int, default=400, help="test images, the same number at one place; one of eight is a query"
    )
    parser.add_argument("--data", type=Path, default=SAMPLE, help="folder with FashionMNIST's own files")
    parser.add_argument("--place", default=place, help="of the store: an address or a folder (default: %(default)s)")
    return parser.parse_args()


def read_images(folder: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Test images as uint8 of shape [N, 28, 28]: those to store, and those to ask with."""
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    images = pixels[HEADER_BYTES:].reshape(-1, 28, 28)[:count]
    if len(images) < count:
        raise SystemExit(
            f"{folder}: expected {count:,} test images, found {len(images):,}; --data names another folder"
        )
    asked = np.arange(len(images)) % 8 == 0
    return images[~asked], images[asked]


def nearest(known: Embeddings, asked: Embeddings, k: int) -> NDArray[np.intp]:
    """The rows of the k nearest of each, by cosine, compared one with all; shape [queries, k]."""
    return np.argsort(-asked.vectors @ known.vectors.T, axis=1, kind="stable")[:, :k]


def report(found: Sequence[Sequence[int]], known: Embeddings, asked: Embeddings) -> None:
    """Prints which share of the true neighbours was found."""
    truth = nearest(known, asked, NEIGHBOURS)
    hits = sum(len(set(rows) & set(true)) for rows, true in zip(found, truth.tolist(), strict=True))
    model = f"{known.model.reference} (fingerprint {known.model.fingerprint})"
    print(f"{len(asked)} queries over {len(known)} images with {model}")
    print(f"recall@{NEIGHBOURS} {hits / truth.size:.4f}")
