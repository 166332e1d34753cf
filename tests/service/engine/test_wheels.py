"""Exactly one ONNX Runtime, or one clear sentence."""

import pytest

from service.engine.errors import DeviceError
from service.engine.wheels import check_runtime


@pytest.mark.parametrize("wheel", ["onnxruntime", "onnxruntime-gpu"])
def test_one_of_them_is_right(wheel: str) -> None:
    check_runtime(["numpy", wheel])


def test_both_are_refused_with_what_to_do() -> None:
    with pytest.raises(DeviceError, match="found both, which overwrite each other: run `pip uninstall"):
        check_runtime(["onnxruntime-gpu", "numpy", "onnxruntime"])


def test_none_is_refused_with_what_to_do() -> None:
    with pytest.raises(DeviceError, match="found none: install simvae with the extra cpu"):
        check_runtime(["numpy", "onnxruntime-extensions"])


def test_this_environment_is_right() -> None:
    check_runtime()
