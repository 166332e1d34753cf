import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from training.data.make_sample import make_sample
from training.datasets.fashion_mnist import CLASS_NAMES, FILES, fetch_files, find_files, read_split
from training.datasets.idx import write_idx
from training.datasets.image_set import DataError

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


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        pass


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def test_a_split_has_images_with_a_channel_and_their_labels(folder: Path) -> None:
    split = read_split(folder, "train")
    assert split.images.shape == (12, 28, 28, 1)
    assert split.labels is not None
    assert split.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


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
        read_split(folder, "train")


def test_files_are_found_in_the_first_folder_that_has_all_of_them(folder: Path, tmp_path: Path) -> None:
    partial_folder = tmp_path / "partial"
    partial_folder.mkdir()
    (partial_folder / "train-images-idx3-ubyte.gz").touch()
    assert find_files([tmp_path / "none", partial_folder, folder, tmp_path]) == folder
    assert find_files([tmp_path / "none", partial_folder]) is None


def test_files_are_found_in_a_subfolder_of_the_data_sets_name(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "fashion-mnist")
    assert find_files([tmp_path]) == tmp_path / "fashion-mnist"


def test_only_the_missing_files_are_downloaded(folder: Path, tmp_path: Path, url: str, hashes: dict[str, str]) -> None:
    target = tmp_path / "cache"
    target.mkdir()
    (target / "t10k-labels-idx1-ubyte.gz").write_text("already here")
    fetch_files(target, url=url, files=hashes)
    assert (target / "t10k-labels-idx1-ubyte.gz").read_text() == "already here"
    np.testing.assert_array_equal(read_split(target, "train").images, read_split(folder, "train").images)


def test_a_download_of_other_content_is_refused(tmp_path: Path, url: str) -> None:
    """The authors' own hashes, so they are seen to be used."""
    with pytest.raises(DataError, match=f"expected sha256 {FILES['train-images-idx3-ubyte.gz']}"):
        fetch_files(tmp_path / "cache", url=url)
    assert find_files([tmp_path / "cache"]) is None


def test_the_sample_is_balanced_and_small() -> None:
    for prefix, per_class in (("train", 160), ("t10k", 40)):
        split = read_split(SAMPLE, prefix)
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == [per_class] * len(CLASS_NAMES)
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 1_000_000


def test_the_sample_carries_its_licence() -> None:
    assert "Permission is hereby granted" in (SAMPLE / "LICENSE").read_text()
    assert "Copyright 2017 Zalando SE" in (SAMPLE / "README.md").read_text()


@pytest.mark.skipif(find_files([SYSTEM]) is None, reason="needs the whole of FashionMNIST on this machine")
def test_the_committed_script_makes_the_committed_sample(tmp_path: Path) -> None:
    make_sample(SYSTEM, tmp_path)
    for prefix in ("train", "t10k"):
        made, shipped = read_split(tmp_path, prefix), read_split(SAMPLE, prefix)
        np.testing.assert_array_equal(made.images, shipped.images)
        np.testing.assert_array_equal(made.labels, shipped.labels)
