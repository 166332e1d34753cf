"""Names and folders to images: the one entry to every source that training knows.

The only place that reads `SIMVAE_DATA` and `SIMVAE_CACHE`; everything below is handed its folders.
"""

import os
from pathlib import Path

from service.engine.images import InputSpec
from training.datasets import fashion_mnist
from training.datasets.folder import open_folder
from training.datasets.image_set import DataError, ImageSet, Skipped, Source

__all__ = ["SOURCES", "DataError", "ImageSet", "Skipped", "Source", "open_source"]

SOURCES = ("fashion-mnist", "fashion-mnist-sample")
"""Sources with a name; anything else is the path of a folder."""

_SAMPLE = Path(__file__).parents[1] / "data" / "fashion-mnist-sample"
_SYSTEM_DATA = Path("/usr/share/datasets")
_FOLDER_INPUT = InputSpec(height=64, width=64, colour_mode="RGB")


def open_source(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    input_spec: InputSpec | None = None,
) -> Source:
    """Opens a source of images.

    Args:
        name_or_path: A name of `SOURCES`, or a folder of images (write ./fashion-mnist for a folder of that name).
        data_dir: Where to look first for the files of a named source; then in `$SIMVAE_DATA`, then where
            distributions put them. What is found nowhere is downloaded to `$SIMVAE_DATA` or ~/.cache/simvae.
        cache_dir: Where the decoded images of folders are kept; by default `$SIMVAE_CACHE` or
            ~/.cache/simvae/images.
        input_spec: What a folder's images are brought to, 64 × 64 RGB by default. Named sources have a shape of
            their own and ignore it.

    Raises:
        DataError: No such source, or its images cannot be had.
    """
    if name_or_path == "fashion-mnist":
        return _fashion_mnist(name_or_path, _fashion_mnist_folder(data_dir))
    if name_or_path == "fashion-mnist-sample":
        return _fashion_mnist(name_or_path, _SAMPLE)
    root = Path(name_or_path).expanduser()
    if not root.is_dir():
        what = "a file" if root.is_file() else "nothing"
        raise DataError(
            f"{name_or_path}: expected a source ({', '.join(SOURCES)}) or a folder of images, "
            f"found {what} of that name in {root.absolute().parent}."
        )
    return open_folder(root, input_spec or _FOLDER_INPUT, cache_dir or _default_cache_dir())


def _fashion_mnist(name: str, folder: Path) -> Source:
    train, test = (fashion_mnist.read_split(folder, prefix) for prefix in ("train", "t10k"))
    return Source(name, fashion_mnist.INPUT, train, test, fashion_mnist.CLASS_NAMES)


def _fashion_mnist_folder(data_dir: Path | None) -> Path:
    own = Path(os.environ.get("SIMVAE_DATA") or "~/.cache/simvae").expanduser()
    places = ([data_dir] if data_dir else []) + [own, _SYSTEM_DATA]
    found = fashion_mnist.find_files(places)
    if found is not None:
        return found
    try:
        fashion_mnist.fetch_files(own / "fashion-mnist")
    except DataError as error:
        raise DataError(
            f"fashion-mnist: expected its files ({', '.join(fashion_mnist.FILES)}) in {', '.join(map(str, places))} "
            f"or a subfolder fashion-mnist of them; found none, and the download failed: {error} "
            "Put the files into one of these folders, or name theirs with --data-dir."
        ) from error
    return own / "fashion-mnist"


def _default_cache_dir() -> Path:
    return Path(os.environ.get("SIMVAE_CACHE") or "~/.cache/simvae/images").expanduser()
