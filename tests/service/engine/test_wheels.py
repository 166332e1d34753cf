"""Exactly one ONNX Runtime, or one clear sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.engine import wheels
from service.engine.engine import Engine
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


@pytest.mark.parametrize(("installed", "found"), [(True, "found both"), (False, "found none")])
def test_a_model_is_not_loaded_with_both_or_none(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, found: str
) -> None:
    monkeypatch.setattr(wheels, "_is_installed", lambda _: installed)
    with pytest.raises(DeviceError, match=found):
        Engine.load(tiny_bundle)


def test_without_onnx_runtime_the_engine_can_still_be_imported() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; import service.engine.engine, service.embed_cli"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_this_environment_is_right() -> None:
    check_runtime()
