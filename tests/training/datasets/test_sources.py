import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.engine.images import InputSpec
from training.data.make_sample import make_sample
from training.datasets import sources
from training.datasets.mnist import FASHION_MNIST, MNIST
from training.datasets.sources import SOURCES, DataError, open_source

SAMPLE = Path(sources.__file__).parents[1] / "data" / "fashion-mnist-sample"

MakeImage = Callable[..., bytes]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without data sets, caches or network: an empty home, and a proxy that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SIMVAE_DATA", raising=False)
    monkeypatch.delenv("SIMVAE_CACHE", raising=False)
    monkeypatch.setattr(sources, "_SYSTEM_DATA", tmp_path / "nothing")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path


@pytest.fixture
def photos(tmp_path: Path, make_image: MakeImage) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(make_image("PNG", size=(50, 40), mode="RGB", seed=number))
    return folder


def test_the_sample_needs_nothing_but_the_package(bare: Path) -> None:
    source = open_source("fashion-mnist-sample")
    assert source.name == "fashion-mnist-sample"
    assert source.input.shape == (28, 28, 1)
    assert source.train.images.shape == (1600, 28, 28, 1)
    assert source.test.images.shape == (400, 28, 28, 1)
    assert source.class_names is not None
    assert source.class_names[9] == "Ankle boot"
    assert source.train.labels is not None
    boots = source.train.images[source.train.labels == 9].mean(axis=(0, 3))
    assert boots[22:26].mean() > 2 * boots[2:6].mean(), "boots are heavy at the sole: images and labels belong together"


@pytest.mark.parametrize("place", ["data_dir", "SIMVAE_DATA", "system"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("is_in_subfolder", [False, True])
def test_files_are_found_where_they_may_be(
    bare: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str, is_in_subfolder: bool
) -> None:
    """With the files of the sample, which have the same format."""
    link = bare / "here" / name if is_in_subfolder else bare / "here"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(SAMPLE)
    if place == "SIMVAE_DATA":
        monkeypatch.setenv("SIMVAE_DATA", str(bare / "here"))
    elif place == "system":
        monkeypatch.setattr(sources, "_SYSTEM_DATA", bare / "here")
    source = open_source(name, data_dir=bare / "here" if place == "data_dir" else None)
    assert source.name == name
    assert len(source.train) == 1600


def test_the_data_dir_goes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMVAE_DATA", str(SAMPLE))
    smaller = bare / "smaller"
    monkeypatch.setattr("training.data.make_sample.PER_CLASS", {"train": 2, "t10k": 1})
    make_sample(SAMPLE, smaller)
    assert len(open_source("fashion-mnist", data_dir=smaller).train) == 20


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", ["Connection refused", *MNIST.urls]),
        ("fashion-mnist", ["Connection refused", *FASHION_MNIST.urls]),
        ("cifar10", ["Connection refused", "cifar-10-binary.tar.gz", "cifar-10-batches-py", "cs.toronto.edu"]),
        ("celeba", ["img_align_celeba.zip", "list_eval_partition.txt", "mmlab.ie.cuhk.edu.hk", "simvae/celeba"]),
    ],
)
def test_without_files_and_network_the_error_says_where_it_looked(bare: Path, name: str, words: list[str]) -> None:
    with pytest.raises(DataError, match="--data-dir") as caught:
        open_source(name, data_dir=bare / "mine")
    for expected in (bare / "mine", bare / "home/.cache/simvae", bare / "nothing", *words):
        assert str(expected) in str(caught.value)
    assert not list(bare.rglob("*.part"))


def test_damaged_files_are_named(bare: Path) -> None:
    make_sample(SAMPLE, bare)
    broken = bare / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: expected a complete gzip file"):
        open_source("fashion-mnist", data_dir=bare)


def test_a_folder_becomes_the_shape_that_is_asked_for(photos: Path, bare: Path) -> None:
    spec = InputSpec(height=32, width=40, colour_mode="L", resize="contain")
    source = open_source(str(photos), input_spec=spec)
    assert source.name == str(photos)
    assert source.input == spec
    assert source.train.images.shape[1:] == (32, 40, 1)
    assert open_source(photos).input == InputSpec(height=64, width=64, colour_mode="RGB", scaled_jpeg=True)
    assert open_source(photos).train.images.shape[1:] == (64, 64, 3)


def test_decoded_folders_are_kept_where_one_says(photos: Path, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_source(photos)
    monkeypatch.setenv("SIMVAE_CACHE", str(bare / "from environment"))
    open_source(photos)
    open_source(photos, cache_dir=bare / "from argument")
    for cache in ("home/.cache/simvae/images", "from environment", "from argument"):
        assert len(list((bare / cache).glob("*/images.npy"))) == 1


def test_images_of_a_folder_are_mapped_and_cannot_be_changed(photos: Path, bare: Path) -> None:
    source = open_source(photos)
    assert isinstance(source.train.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        source.train.images[0] = 0


def test_an_npz_file_is_opened_by_its_path(bare: Path) -> None:
    np.savez(bare / "mine.npz", images=np.zeros((20, 8, 9), np.uint8))
    source = open_source(str(bare / "mine.npz"))
    assert source.name == str(bare / "mine.npz")
    assert source.input.shape == (8, 9, 1)
    assert len(list((bare / "home/.cache/simvae/images").glob("npz-*.npy"))) == 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_of_a_sources_name_is_meant_when_written_as_a_path(
    photos: Path, monkeypatch: pytest.MonkeyPatch, bare: Path, name: str
) -> None:
    photos.rename(bare / name)
    monkeypatch.chdir(bare)
    assert open_source(f"./{name}").train.images.shape[1:] == (64, 64, 3)


def test_what_is_no_name_folder_or_file_of_arrays_is_refused(bare: Path) -> None:
    with pytest.raises(DataError, match=r"fashion: expected a source \(mnist, fashion-mnist, .*glyphs\), a folder"):
        open_source("fashion")
    (bare / "photo.jpg").touch()
    with pytest.raises(DataError, match="found another file of that name"):
        open_source(bare / "photo.jpg")
    with pytest.raises(DataError, match="found nothing of that name"):
        open_source("gone.npz")
