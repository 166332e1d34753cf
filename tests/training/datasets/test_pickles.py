import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.datasets.image_set import DataError
from training.datasets.pickles import read_pickle

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


class _Call:
    """Pickled, it asks for a call."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("key", ["data", b"data"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_numbers_and_text_are_read(key: object, protocol: int) -> None:
    content = pickle.dumps({key: PIXELS, "labels": [1, 2, 3], "name": b"batch"}, protocol)
    found = read_pickle(content, "batch")
    np.testing.assert_array_equal(found["data"], PIXELS)
    assert found["labels"] == [1, 2, 3]
    assert found["name"] == b"batch"


def test_an_array_stored_by_column_is_read_by_row() -> None:
    found = read_pickle(pickle.dumps({"data": np.asfortranarray(PIXELS)}, 2), "batch")
    np.testing.assert_array_equal(found["data"], PIXELS)


def test_a_pickle_of_python_2_is_read() -> None:
    """Written out by hand as numpy under Python 2 wrote it, where text is bytes."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03K\x04\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x0c" + PIXELS.tobytes() + b"tb"
    )
    content = b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x07K\x02K\x09eu."
    pickletools.dis(content, out=io.StringIO())  # raises unless it is well-formed
    found = read_pickle(content, "batch")
    np.testing.assert_array_equal(found["data"], PIXELS)
    assert found["labels"] == [7, 2, 9]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_that_a_pickle_asks_for_is_called(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "called"
    calls = [
        _Call(os.system, f"touch {mark}"),
        _Call(eval, f"open({str(mark)!r}, 'w')"),
        _Call(np.save, mark, PIXELS),
        _Call(Path.touch, mark),
    ]
    for call in calls:
        for content in (pickle.dumps(call, protocol), pickle.dumps({"data": call}, protocol)):
            with pytest.raises(DataError, match=r"batch: expected a pickle of plain values .*which is not made"):
                read_pickle(content, "batch")
    assert not list(tmp_path.iterdir())


def test_the_calls_would_have_been_made_otherwise(tmp_path: Path) -> None:
    """So the test above tests something."""
    pickle.loads(pickle.dumps(_Call(os.system, f"touch {tmp_path / 'called'}")))  # noqa: S301
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "array", [PIXELS.astype(np.int64), PIXELS.astype(object), np.array(["text"]), PIXELS.astype("M8[s]")]
)
def test_arrays_of_anything_but_uint8_are_refused(array: np.typing.NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="batch: expected"):
        read_pickle(pickle.dumps({"data": array}, 2), "batch")


@pytest.mark.parametrize("kept", [0, 1, 10, 60, -1])
def test_a_pickle_cut_off_anywhere_is_refused(kept: int) -> None:
    with pytest.raises(DataError, match="batch: expected a pickle of plain values"):
        read_pickle(pickle.dumps({"data": PIXELS}, 2)[:kept], "batch")


def test_an_array_with_fewer_bytes_than_its_shape_says_is_refused() -> None:
    content = pickle.dumps({"data": PIXELS}, 2).replace(b"K\x03K\x04", b"K\x09K\x09")
    with pytest.raises(DataError, match="expected arrays of uint8"):
        read_pickle(content, "batch")


@pytest.mark.parametrize("value", [[1, 2], None, PIXELS, 7])
def test_what_is_no_dictionary_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="expected a pickled dictionary, found"):
        read_pickle(pickle.dumps(value, 2), "batch")
