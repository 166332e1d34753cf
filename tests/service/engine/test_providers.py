"""ONNX Runtime is told of a GPU what its options are called, and TensorRT's engines are kept apart."""

import os
import shutil
from pathlib import Path

import pytest

from service.engine.errors import DeviceError
from service.engine.providers import CUDA, TENSORRT, GpuOptions, cuda, tensorrt


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_cuda_computes_in_full_float32_on_the_gpu_asked_for(cuda_graphs: bool) -> None:
    ((name, settings),) = cuda(3, GpuOptions(cuda_graphs))
    assert name == CUDA
    assert (settings["device_id"], settings["use_tf32"]) == ("3", "0")
    assert settings["enable_cuda_graph"] == str(int(cuda_graphs))


def test_tensorrt_has_cuda_behind_it_on_the_same_gpu_and_full_float32(tiny_bundle: Path) -> None:
    (first, settings), (second, behind) = tensorrt(2, GpuOptions(), tiny_bundle / "encoder.onnx", half=False)
    assert (first, second) == (TENSORRT, CUDA)
    assert settings["device_id"] == behind["device_id"] == "2"
    assert settings["trt_fp16_enable"] == "False"
    assert "trt_engine_cache_path" not in settings
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert tensorrt(2, GpuOptions(), tiny_bundle / "encoder.onnx", half=True)[0][1]["trt_fp16_enable"] == "True"


def test_engines_of_the_same_graph_are_found_again_and_those_of_others_are_not(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    def folder(file: Path) -> str:
        settings = tensorrt(0, GpuOptions(tensorrt_cache=tmp_path / "engines"), file, half=False)[0][1]
        assert settings["trt_engine_cache_enable"] == settings["trt_timing_cache_enable"] == "True"
        assert Path(settings["trt_engine_cache_path"]).is_dir()
        return settings["trt_engine_cache_path"]

    copied = shutil.copy(tiny_bundle / "encoder.onnx", tmp_path / "copy.onnx")
    assert folder(tiny_bundle / "encoder.onnx") == folder(Path(copied)) != folder(tiny_bundle / "decoder.onnx")


def test_a_place_for_engines_that_cannot_be_made_is_one_sentence(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match=r"Expected a directory for TensorRT's engines .*file/[0-9a-f]{16}: Not a"):
        tensorrt(0, GpuOptions(tensorrt_cache=tmp_path / "file"), tiny_bundle / "encoder.onnx", half=False)
