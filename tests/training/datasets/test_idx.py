import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from training.datasets.idx import read_idx, write_idx
from training.datasets.image_set import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images-idx3-ubyte.gz"


def test_the_bytes_of_the_format_are_read(path: Path) -> None:
    """Written out by hand from the description of the format, so reader and writer cannot share a mistake."""
    path.write_bytes(
        gzip.compress(bytes.fromhex("00000803 00000002 00000001 00000003") + bytes([7, 8, 9, 250, 251, 252]))
    )
    assert read_idx(path, dimensions=3).tolist() == [[[7, 8, 9]], [[250, 251, 252]]]


@given(values=arrays(np.uint8, array_shapes(min_dims=1, max_dims=3), elements=st.integers(0, 255)))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, values: NDArray[np.uint8]) -> None:
    path = tmp_path_factory.mktemp("idx") / "values.gz"
    write_idx(path, values)
    found = read_idx(path, dimensions=values.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


def test_equal_values_give_equal_files(tmp_path: Path) -> None:
    for name in ("one.gz", "two.gz"):
        write_idx(tmp_path / name, IMAGES)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_the_array_can_be_written_to(path: Path) -> None:
    """Torch warns about arrays that cannot, and shares their memory all the same."""
    write_idx(path, IMAGES)
    read_idx(path, dimensions=3)[:] = 0


def test_a_name_without_gz_is_read_as_it_is(path: Path) -> None:
    write_idx(path, IMAGES)
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(read_idx(plain, dimensions=3), IMAGES)
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"ubyte: expected 24 values .* found 23"):
        read_idx(plain, dimensions=3)
    plain.unlink()
    with pytest.raises(DataError, match=r"ubyte: expected a complete idx file, found .*No such file"):
        read_idx(plain, dimensions=3)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: expected a complete gzip file, found .*No such file"):
        read_idx(path, dimensions=3)


@pytest.mark.parametrize("kept", [0, 5, 25, -9, -1])
def test_a_file_cut_off_anywhere_is_refused(path: Path, kept: int) -> None:
    write_idx(path, IMAGES)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: expected"):
        read_idx(path, dimensions=3)


def test_a_changed_byte_is_noticed(path: Path) -> None:
    write_idx(path, IMAGES)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # within the checksum at the end
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC check failed"):
        read_idx(path, dimensions=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found nothing"),
        (b"\x89PNG" + bytes(40), "expected an idx file that starts with 00 00 08 03 .*found 89 50 4e 47"),
        (bytes.fromhex("00000801") + bytes(40), "3 dimensions of uint8.*found 00 00 08 01"),
        (bytes.fromhex("00000d03") + bytes(40), "found 00 00 0d 03"),
        (bytes.fromhex("00000803") + bytes(6), "expected a header of 16 bytes, found 10"),
        (struct.pack(">4I", 0x803, 2, 3, 4) + bytes(23), r"expected 24 values for shape \[2, 3, 4\], found 23"),
        (struct.pack(">4I", 0x803, 2, 3, 4) + bytes(25), "found 25"),
    ],
)
def test_another_content_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=message):
        read_idx(path, dimensions=3)


def test_a_file_that_is_not_compressed_is_refused(path: Path) -> None:
    path.write_bytes(struct.pack(">4I", 0x803, 1, 1, 1) + bytes(1))
    with pytest.raises(DataError, match="Not a gzipped file"):
        read_idx(path, dimensions=3)
