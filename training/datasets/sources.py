"""Names, folders and files to images: the one entry to every source that training knows.

The only place that reads `SIMVAE_DATA` and `SIMVAE_CACHE`; everything below is handed its folders.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from service.engine.images import InputSpec
from training.datasets.celeba import open_celeba
from training.datasets.cifar10 import open_cifar10
from training.datasets.folder import open_folder
from training.datasets.glyphs import open_glyphs
from training.datasets.image_set import DataError, ImageSet, Skipped, Source
from training.datasets.mnist import FASHION_MNIST, MNIST, open_idx, read_folder
from training.datasets.npz import open_npz
from training.datasets.places import Places

__all__ = ["SOURCES", "DataError", "ImageSet", "Skipped", "Source", "open_source"]

_SAMPLE = Path(__file__).parents[1] / "data" / "fashion-mnist-sample"
_SYSTEM_DATA = Path("/usr/share/datasets")
_FOLDER_INPUT = InputSpec(height=64, width=64, colour_mode="RGB", scaled_jpeg=True)

_NAMED: Mapping[str, Callable[[Places], Source]] = {
    "mnist": partial(open_idx, MNIST),
    "fashion-mnist": partial(open_idx, FASHION_MNIST),
    "fashion-mnist-sample": lambda _: replace(read_folder(FASHION_MNIST, _SAMPLE), name="fashion-mnist-sample"),
    "cifar10": open_cifar10,
    "celeba": open_celeba,
    "glyphs": lambda places: open_glyphs(places.cache_dir),
}

SOURCES = tuple(_NAMED)
"""Sources with a name; anything else is the path of a folder or of an `.npz` file."""


def open_source(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    input_spec: InputSpec | None = None,
) -> Source:
    """Opens a source of images.

    Args:
        name_or_path: A name of `SOURCES`, a folder of images (write ./fashion-mnist for a folder of that name), or an
            `.npz` file of arrays.
        data_dir: Where to look first for the files of a named source; then in `$SIMVAE_DATA`, then where
            distributions put them. What is found nowhere is downloaded to `$SIMVAE_DATA` or ~/.cache/simvae.
        cache_dir: Where images that were decoded, drawn or unpacked once are kept; by default `$SIMVAE_CACHE` or
            ~/.cache/simvae/images.
        input_spec: What a folder's images are brought to, 64 × 64 RGB by default. Every other source has a shape of
            its own and ignores it.

    Raises:
        DataError: No such source, or its images cannot be had.
    """
    places = _places(data_dir, cache_dir)
    if str(name_or_path) in _NAMED and not isinstance(name_or_path, Path):
        return _NAMED[name_or_path](places)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return open_folder(path, input_spec or _FOLDER_INPUT, places.cache_dir)
    if path.suffix.lower() == ".npz" and path.is_file():
        return open_npz(path, places.cache_dir)
    what = "another file" if path.is_file() else "nothing"
    raise DataError(
        f"{name_or_path}: expected a source ({', '.join(SOURCES)}), a folder of images or an .npz file, "
        f"found {what} of that name in {path.absolute().parent}."
    )


def _places(data_dir: Path | None, cache_dir: Path | None) -> Places:
    own = Path(os.environ.get("SIMVAE_DATA") or "~/.cache/simvae").expanduser()
    cache = Path(os.environ.get("SIMVAE_CACHE") or "~/.cache/simvae/images").expanduser()
    return Places((*([data_dir] if data_dir else []), own, _SYSTEM_DATA), own, cache_dir or cache)
