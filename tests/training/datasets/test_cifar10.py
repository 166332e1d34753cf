import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.datasets import cifar10
from training.datasets.cifar10 import CLASS_NAMES, open_cifar10
from training.datasets.image_set import DataError
from training.datasets.places import Places

PER_BATCH = 3
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
FOLDERS = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}


def _pixels(batch: str) -> NDArray[np.uint8]:
    """Random pixels of shape [3, 32, 32, 3], those of one batch always the same."""
    return np.random.default_rng(len(batch) + ord(batch[-1])).integers(0, 256, (PER_BATCH, 32, 32, 3), np.uint8)


def _labels(batch: str) -> list[int]:
    return [(ord(batch[-1]) + number) % 10 for number in range(PER_BATCH)]


def _content(version: str, batch: str) -> bytes:
    """A batch as the authors describe it: red, green and blue planes, each row by row."""
    rows = _pixels(batch).transpose(0, 3, 1, 2).reshape(PER_BATCH, 3072)
    if version == "python":
        return pickle.dumps({b"batch_label": b"a batch", b"labels": _labels(batch), b"data": rows}, protocol=2)
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(_labels(batch), rows, strict=True))


def _write(folder: Path, version: str, form: str) -> Path:
    """Writes all batches as a folder or an archive, with the other files that come along."""
    suffix = ".bin" if version == "binary" else ""
    files = {f"{batch}{suffix}": _content(version, batch) for batch in (*TRAIN, "test_batch")}
    files["readme.html"] = b"<html>"
    files["batches.meta"] = b"not looked at"
    folder.mkdir(parents=True, exist_ok=True)
    if form == "folder":
        (folder / FOLDERS[version]).mkdir()
        for name, content in files.items():
            (folder / FOLDERS[version] / name).write_bytes(content)
        return folder / FOLDERS[version]
    path = folder / f"cifar-10-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in sorted(files, reverse=True):  # the authors' archives are in no order either
            member = tarfile.TarInfo(f"{FOLDERS[version]}/{name}")
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return path


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize("subfolder", ["", "cifar10"])
def test_every_form_gives_the_same_images_and_labels(places: Places, version: str, form: str, subfolder: str) -> None:
    _write(places.own / subfolder, version, form)
    source = open_cifar10(places)
    assert source.input.shape == (32, 32, 3)
    assert source.class_names == CLASS_NAMES
    assert source.train.labels is not None
    assert source.test.labels is not None
    np.testing.assert_array_equal(source.train.images, np.concatenate([_pixels(batch) for batch in TRAIN]))
    assert source.train.labels.tolist() == [label for batch in TRAIN for label in _labels(batch)]
    np.testing.assert_array_equal(source.test.images, _pixels("test_batch"))
    assert source.test.labels.tolist() == _labels("test_batch")


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("kept", [0, 20, 0.3, 0.9])
def test_an_archive_cut_off_anywhere_is_refused(places: Places, version: str, kept: float) -> None:
    path = _write(places.own, version, "archive")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(DataError, match=rf"cifar-10-{version}\.tar\.gz: expected a complete tar\.gz file, found"):
        open_cifar10(places)


def test_a_web_page_saved_as_the_archive_is_refused(places: Places) -> None:
    places.own.mkdir()
    (places.own / "cifar-10-python.tar.gz").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"python\.tar\.gz: expected a complete tar\.gz file, found"):
        open_cifar10(places)


@pytest.mark.parametrize("version", ["binary", "python"])
def test_a_missing_batch_is_named(places: Places, version: str) -> None:
    folder = _write(places.own, version, "folder")
    next(folder.glob("data_batch_3*")).unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-\w+: expected data_batch_1.* found no data_batch_3"):
        open_cifar10(places)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"data_batch_2\.bin: expected records of 3,073 bytes, found 0 bytes"),
        (bytes(3073 * 2 - 1), "found 6,145 bytes; download it again"),
        (bytes([10]) + bytes(3072), "expected labels of 0 to 9, found 10"),
    ],
)
def test_a_binary_batch_of_another_shape_is_refused(places: Places, content: bytes, message: str) -> None:
    (_write(places.own, "binary", "folder") / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_cifar10(places)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [1]}, r"data_batch_2: expected data of shape \[N, 3072\], found none"),
        ({"labels": [1], "data": np.zeros((1, 3073), np.uint8)}, r"found \[1, 3073\]"),
        ({"fine_labels": [1], "data": np.zeros((1, 3072), np.uint8)}, "expected labels as a list of small integers"),
        ({"labels": [1, 2], "data": np.zeros((1, 3072), np.uint8)}, "one label for each of 1 images, found 2"),
        ({"labels": [11], "data": np.zeros((1, 3072), np.uint8)}, "expected labels of 0 to 9, found 11"),
        ({"labels": [1], "data": np.zeros((1, 3072))}, "expected arrays of uint8"),
    ],
)
def test_a_python_batch_of_another_shape_is_refused(places: Places, batch: dict[str, object], message: str) -> None:
    (_write(places.own, "python", "folder") / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match=message):
        open_cifar10(places)


def test_a_download_of_other_content_is_refused_and_leaves_nothing(
    places: Places, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authors' own checksum, so it is seen to be used."""
    path = _write(tmp_path / "mirror", "binary", "archive")
    monkeypatch.setattr(cifar10, "_URL", f"{serve(path.parent)}/{path.name}")
    with pytest.raises(DataError, match=r"download failed: .*expected md5 c32a1d4ab5d03f1284b67883e8d87530"):
        open_cifar10(places)
    assert list(places.own.rglob("*.*")) == []
