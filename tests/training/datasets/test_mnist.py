import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data.make_sample import make_sample
from training.datasets.idx import write_idx
from training.datasets.image_set import DataError
from training.datasets.mnist import FASHION_MNIST, MNIST, IdxFiles, fetch_files, holds_files, open_idx, read_folder
from training.datasets.places import Places

SYSTEM = Path("/usr/share/datasets/fashion-mnist")
SAMPLE = Path(__file__).parents[3] / "training" / "data" / "fashion-mnist-sample"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve training and four test images, in files like the real ones."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "files"
    folder.mkdir()
    for prefix, count in (("train", 12), ("t10k", 4)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    return folder


@pytest.fixture
def served(folder: Path, serve: Callable[[Path], str]) -> IdxFiles:
    """FashionMNIST as if its authors had published the files of `folder`."""
    checksums = {
        name: f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}" for name in FASHION_MNIST.checksums
    }
    return replace(FASHION_MNIST, urls=(serve(folder),), checksums=checksums)


def test_a_split_has_images_with_a_channel_and_their_labels(folder: Path) -> None:
    source = read_folder(MNIST, folder)
    assert source.train.images.shape == (12, 28, 28, 1)
    assert source.train.labels is not None
    assert source.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert len(source.test) == 4
    assert source.class_names == tuple("0123456789")


@pytest.mark.parametrize("suffix", ["t10k-images-idx3-ubyte", "-ubyte"])
def test_files_that_are_not_compressed_are_read_too(folder: Path, suffix: str) -> None:
    """As some distributions and tools leave them, all or one."""
    before = read_folder(MNIST, folder)
    for file in list(folder.glob(f"*{suffix}.gz")):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert holds_files(folder)
    after = read_folder(MNIST, folder)
    for one, other in ((before.train, after.train), (before.test, after.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("train-labels-idx1-ubyte.gz", np.zeros(11, np.uint8), "one label for each of 12 images, found 11"),
        ("train-labels-idx1-ubyte.gz", np.full(12, 10, np.uint8), "expected labels of 0 to 9, found 10"),
        ("train-images-idx3-ubyte.gz", np.zeros((12, 28, 32), np.uint8), "28 × 28 pixels, found 28 × 32"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, name: str, values: np.typing.NDArray[np.uint8], message: str
) -> None:
    write_idx(folder / name, values)
    with pytest.raises(DataError, match=message):
        read_folder(MNIST, folder)


def test_another_data_set_with_files_of_the_same_names_is_noticed(folder: Path) -> None:
    """The whole of FashionMNIST has 6,000 images of every class, the whole of MNIST has not."""
    write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros((60_000, 28, 28), np.uint8))
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    for files, other, values in ((FASHION_MNIST, MNIST, labels), (MNIST, FASHION_MNIST, np.maximum(labels, 1))):
        write_idx(folder / "train-labels-idx1-ubyte.gz", values)
        assert len(read_folder(files, folder).train) == 60_000
        with pytest.raises(DataError, match=f"expected the files of {other.name}, whose classes are"):
            read_folder(other, folder)


@pytest.mark.parametrize("name", ["fashion-mnist", "FashionMNIST/raw", "."])
def test_files_are_found_where_people_and_torchvision_put_them(folder: Path, places: Places, name: str) -> None:
    target = places.own / name
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    assert len(open_idx(FASHION_MNIST, places).train) == 12


def test_a_subfolder_of_the_name_goes_before_the_folder_itself(folder: Path, places: Places) -> None:
    """Files in the folder itself may be those of the other data set."""
    (places.own / "mnist").mkdir(parents=True)
    for file in folder.iterdir():
        (places.own / file.name).write_text("another data set")
        file.rename(places.own / "mnist" / file.name)
    assert len(open_idx(MNIST, places).train) == 12


def test_what_is_not_there_is_downloaded_into_a_folder_of_its_name(places: Places, served: IdxFiles) -> None:
    assert len(open_idx(served, places).train) == 12
    assert holds_files(places.own / "fashion-mnist")


def test_only_the_missing_files_are_downloaded(folder: Path, tmp_path: Path, served: IdxFiles) -> None:
    target = tmp_path / "cache"
    target.mkdir()
    (target / "t10k-labels-idx1-ubyte.gz").write_text("already here")
    (target / "t10k-images-idx3-ubyte").write_text("already here")
    fetch_files(served, target)
    assert sorted(file.name for file in target.iterdir() if file.stat().st_size == len("already here")) == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte.gz",
    ]
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        assert (target / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("files", [MNIST, FASHION_MNIST], ids=lambda files: files.name)
def test_a_download_of_other_content_is_refused(tmp_path: Path, files: IdxFiles, served: IdxFiles) -> None:
    """The authors' own checksums, so they are seen to be used."""
    algorithm, digest = files.checksums["train-images-idx3-ubyte.gz"].split(":")
    with pytest.raises(DataError, match=f"expected {algorithm} {digest}"):
        fetch_files(replace(files, urls=served.urls), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_sample_is_balanced_and_small() -> None:
    source = read_folder(FASHION_MNIST, SAMPLE)
    for split, per_class in ((source.train, 160), (source.test, 40)):
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == [per_class] * 10
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 1_000_000


def test_the_sample_carries_its_licence() -> None:
    assert "Permission is hereby granted" in (SAMPLE / "LICENSE").read_text()
    assert "Copyright 2017 Zalando SE" in (SAMPLE / "README.md").read_text()


@pytest.mark.skipif(not holds_files(SYSTEM), reason="needs the whole of FashionMNIST on this machine")
def test_the_committed_script_makes_the_committed_sample(tmp_path: Path) -> None:
    make_sample(SYSTEM, tmp_path)
    made, shipped = read_folder(FASHION_MNIST, tmp_path), read_folder(FASHION_MNIST, SAMPLE)
    for one, other in ((made.train, shipped.train), (made.test, shipped.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
