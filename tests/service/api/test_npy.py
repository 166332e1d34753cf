import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.errors import RequestError, UnprocessableError
from service.api.npy import read_npy, write_npy


def saved(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_reads_what_numpy_writes(array: np.ndarray[Any, Any], fortran: bool) -> None:
    data = saved(np.asfortranarray(array) if fortran else array)
    np.testing.assert_array_equal(read_npy(data, np.uint8), array)


def test_reads_the_dtype_that_is_expected_and_no_other() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(read_npy(saved(array), np.float32), array)
    with pytest.raises(UnprocessableError, match=r"float32; found float64 of shape \[2, 3\]"):
        read_npy(saved(array.astype(np.float64)), np.float32)
    with pytest.raises(RequestError, match="holds 22 bytes"):
        read_npy(saved(array)[:-2], np.float32)


def test_reads_version_two() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_npy(saved(array, (2, 0)), np.uint8), array)


@given(hnp.arrays(hnp.floating_dtypes() | hnp.integer_dtypes(), hnp.array_shapes(min_side=0)))
def test_numpy_reads_what_is_written(array: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(np.load(io.BytesIO(write_npy(array)), allow_pickle=False), array)


@given(st.binary(max_size=80))
def test_no_bytes_at_all_do_anything_but_a_clear_refusal(tail: bytes) -> None:
    for data in (tail, b"\x93NUMPY" + tail, with_header(tail)):
        with pytest.raises((RequestError, UnprocessableError)):
            read_npy(data, np.uint8)


def test_a_header_that_claims_terabytes_allocates_nothing() -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 1000000)}\n"
    with pytest.raises(RequestError, match="holds 3 bytes"):
        read_npy(with_header(header, b"abc"), np.uint8)


@pytest.mark.parametrize("shape", [b"(-1, -3)", b"(-3, -1)", b"(3, -1)"])
def test_negative_lengths_are_refused(shape: bytes) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + b"}\n"
    with pytest.raises(RequestError):
        read_npy(with_header(header, b"abc"), np.uint8)


@pytest.mark.parametrize("shape", [b"(True, 3)", b"(3, True)", b"(%d, 0)" % 10**30, b"(3," + b" 1," * 70 + b")"])
def test_lengths_that_numpy_cannot_have_are_refused(shape: bytes) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + b"}\n"
    with pytest.raises(RequestError, match="holds 3 bytes"):
        read_npy(with_header(header, b"abc"), np.uint8)


def test_a_pickle_is_never_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnprocessableError, match="uint8; found object"):
        read_npy(stream.getvalue(), np.uint8)


def test_a_header_beyond_the_limit_is_refused() -> None:
    with pytest.raises(RequestError, match="header"):
        read_npy(with_header(b" " * 60_000), np.uint8)


@pytest.mark.parametrize("cut", [1, 5])
def test_a_file_that_was_cut_off_says_how_much_there_is(cut: int) -> None:
    with pytest.raises(RequestError, match=r"holds \d+ bytes"):
        read_npy(saved(np.zeros((2, 4), np.uint8))[:-cut], np.uint8)


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(RequestError, match="holds 9 bytes"):
        read_npy(saved(np.zeros((2, 4), np.uint8)) + b"x", np.uint8)
