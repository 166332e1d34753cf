"""Reads the pickles that CIFAR-10's Python version consists of, and runs nothing of what is in them.

A pickle names functions that are to be called while it is read. Here a name leads to a stand-in from this module, for
the four names that a pickled uint8 array needs, and to an error for every other, so numpy itself is never called.
"""

import io
import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from service.engine.images import Pixels
from training.datasets.image_set import DataError

__all__ = ["read_pickle"]


def read_pickle(content: bytes, name: str) -> dict[str, Any]:
    """Reads a pickled dictionary of strings, numbers, lists and uint8 arrays, written by Python 2 or 3.

    Args:
        content: The pickle.
        name: Of its file, for errors.

    Returns:
        The dictionary; its keys are text, even where Python 2 wrote bytes.

    Raises:
        DataError: Truncated or damaged, no dictionary, or in need of anything else than the above.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        raise DataError(
            f"{name}: expected a pickle of plain values and uint8 arrays, found {error}; download it again."
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{name}: expected a pickled dictionary, found {type(found).__name__}; download it again.")
    return {_text(key): value.pixels(name) if isinstance(value, _Array) else value for key, value in found.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"a call of {module}.{name}, which is not made") from None


class _Array:
    """What numpy would be asked to build."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def pixels(self, name: str) -> Pixels:
        """The array, if it is one of uint8 whose bytes are as many as its shape says; a copy."""
        try:
            _, shape, dtype, by_column, content = self._state
            if isinstance(dtype, _Dtype) and dtype.code == "u1" and len(content) == math.prod(shape):
                return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C").copy()
        except (TypeError, ValueError):
            pass
        raise DataError(f"{name}: expected arrays of uint8, found another one; download it again.")


class _Dtype:
    """The type of an array's values, in numpy's code."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = _text(code)

    def __setstate__(self, _: object) -> None:
        """Byte order and such, which uint8 does not have."""


class _Nothing:
    """Named in pickles, never used."""


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


_STAND_INS: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # as numpy 2 writes it
    ("numpy", "ndarray"): _Nothing,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
