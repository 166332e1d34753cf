import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.datasets import npz
from training.datasets.image_set import DataError, Source
from training.datasets.npz import open_npz

Array = NDArray[np.generic]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _images(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *(shape or (5, 4))), np.uint8)


def _pairs(source: Source) -> dict[bytes, int]:
    """The label of every image by its pixels."""
    found = {}
    for part in (source.train, source.test):
        assert part.labels is not None
        found |= {image.tobytes(): int(label) for image, label in zip(part.images, part.labels, strict=True)}
    return found


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_a_file_with_two_splits_keeps_them(path: Path, cache: Path, names: list[str], is_compressed: bool) -> None:
    """As Keras and MedMNIST write them, labels of shape [N] or [N, 1]."""
    arrays = (_images(30), np.arange(30) % 3, _images(7), (np.arange(7) % 4)[:, np.newaxis])
    (np.savez_compressed if is_compressed else np.savez)(path, **dict(zip(names, arrays, strict=True)))
    source = open_npz(path, cache)
    np.testing.assert_array_equal(source.train.images[..., 0], arrays[0])
    np.testing.assert_array_equal(source.train.labels, arrays[1])
    np.testing.assert_array_equal(source.test.images[..., 0], arrays[2])
    np.testing.assert_array_equal(source.test.labels, arrays[3][:, 0])
    assert source.class_names == ("0", "1", "2", "3")
    assert source.input.shape == (5, 4, 1)


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
def test_a_file_with_one_split_is_divided_and_keeps_pairs_together(path: Path, cache: Path, names: list[str]) -> None:
    """Sorted by class, as such files often are, so both splits must be drawn from all of it."""
    images, labels = _images(400), np.arange(400) // 100
    np.savez(path, **{names[0]: images, names[1]: labels})
    source = open_npz(path, cache)
    assert _pairs(source) == {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    assert 20 <= len(source.test) <= 60
    assert len(source.train) + len(source.test) == 400
    for part in (source.train, source.test):
        assert part.labels is not None
        assert set(part.labels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 24])
def test_images_are_the_same_whatever_the_size_of_the_pieces(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(npz, "_CHUNK_BYTES", chunk_bytes)
    images = _images(23)
    np.savez_compressed(path, images=images, labels=np.arange(23))
    assert _pairs(open_npz(path, cache)) == {image.tobytes(): row for row, image in enumerate(images)}


@pytest.mark.parametrize(
    ("shape", "expected", "mode"),
    [((6, 5, 4), (5, 4, 1), "L"), ((6, 5, 4, 1), (5, 4, 1), "L"), ((6, 5, 4, 3), (5, 4, 3), "RGB")],
)
def test_grey_and_colour_images_are_told_apart(
    path: Path, cache: Path, shape: tuple[int, ...], expected: tuple[int, ...], mode: str
) -> None:
    np.savez(path, images=_images(*shape))
    source = open_npz(path, cache)
    assert source.input.shape == expected
    assert source.input.colour_mode == mode
    assert source.train.images.shape[1:] == expected
    assert source.train.labels is None
    assert source.class_names is None


def test_images_are_mapped_and_copied_once(path: Path, cache: Path) -> None:
    """The file is overwritten behind the cache's back, with size and time kept."""
    images = _images(30, 40, 40)
    np.savez(path, x_train=images, x_test=images)
    first = open_npz(path, cache)
    assert isinstance(first.train.images, np.memmap)
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(images.tobytes(), bytes(images.size)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(open_npz(path, cache).train.images[..., 0], images)
    assert len(list(cache.iterdir())) == 2


def test_a_changed_file_is_read_again(path: Path, cache: Path) -> None:
    np.savez(path, x_train=_images(30), x_test=_images(7))
    open_npz(path, cache)
    np.savez(path, x_train=_images(31), x_test=_images(7))
    np.testing.assert_array_equal(open_npz(path, cache).train.images[..., 0], _images(31))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"pictures": _images(9), "targets": np.arange(9)},
            r"mine\.npz: expected .* images, or x, found pictures, targ",
        ),
        ({"x_train": _images(9)}, "found x_train"),
        ({}, "found none"),
        ({"images": _images(9).astype(np.float32) / 255}, r"images as uint8 of shape .*found float32 \[9, 5, 4\]"),
        ({"images": _images(9, 3, 8, 8)}, r"\[N, H, W, 3\] in C order, found uint8 \[9, 3, 8, 8\]"),
        ({"images": _images(9, 20)}, r"found uint8 \[9, 20\]"),
        ({"images": _images(0)}, r"found uint8 \[0, 5, 4\]"),
        ({"images": np.asfortranarray(_images(9))}, "in Fortran order"),
        ({"images": _images(1)}, "expected at least two images, found 1"),
        ({"images": _images(9), "labels": np.arange(8)}, r"labels as 9 class indices, found int64 \[8\]"),
        ({"images": _images(9), "labels": np.arange(9) / 2}, "found float64"),
        ({"images": _images(9), "labels": np.arange(9) - 1}, "counted from 0 .*found -1 to 7"),
        ({"images": _images(9), "labels": np.arange(9) * 10_000}, "below 65,536, found 0 to 80000"),
        ({"x_train": _images(9), "x_test": _images(9, 4, 5)}, r"of one shape, found \[5, 4, 1\] and \[4, 5, 1\]"),
        ({"x_train": _images(9), "x_test": _images(8), "y_test": np.arange(8)}, "or of neither, found one of them"),
        ({"images": np.array([None, {}])}, r"found object \[2\]"),
        ({"images": _images(9), "labels": np.array([None] * 9)}, "Object arrays cannot be loaded"),
    ],
)
def test_arrays_of_another_kind_are_refused(path: Path, cache: Path, arrays: dict[str, Array], message: str) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        open_npz(path, cache)


@pytest.mark.parametrize("kept", [0, 100, 0.5, -5])
def test_a_file_cut_off_anywhere_is_refused(path: Path, cache: Path, kept: float) -> None:
    np.savez_compressed(path, images=_images(90))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    with pytest.raises(DataError, match=r"mine\.npz: expected a complete \.npz file of plain arrays, found"):
        open_npz(path, cache)
    assert not cache.exists()


def test_a_changed_byte_is_noticed_and_leaves_nothing(path: Path, cache: Path) -> None:
    images = _images(90, 40, 40)
    np.savez(path, images=images)
    content = bytearray(path.read_bytes())
    content[content.index(images.tobytes()) + 77] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        open_npz(path, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("said", "message"), [(91, "ends 20 bytes early"), (89, r"more values than the shape")])
def test_an_array_of_another_size_than_it_says_is_refused(path: Path, cache: Path, said: int, message: str) -> None:
    np.save(path.with_suffix(".npy"), _images(90))
    content = path.with_suffix(".npy").read_bytes().replace(b"(90, 5, 4)", f"({said}, 5, 4)".encode())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(DataError, match=message):
        open_npz(path, cache)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_says_what_to_do(path: Path, tmp_path: Path) -> None:
    np.savez(path, images=_images(9))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"taken/npz-.*: expected to keep images there.*--cache-dir"):
        open_npz(path, tmp_path / "taken")
