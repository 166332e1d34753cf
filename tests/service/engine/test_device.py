"""A graph runs where it was asked to run, or the one who asked is told."""

from pathlib import Path

import onnxruntime as ort
import pytest

from service.engine.device import open_sessions
from service.engine.errors import DeviceError
from service.engine.model import Model
from service.engine.providers import GpuOptions


def test_an_unknown_device_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"Expected the device auto, cpu, cuda, .* found 'gpu'"):
        Model.load(tiny_bundle, device="gpu")


@pytest.mark.parametrize("device", ["auto", "cpu", "tensorrt"])
def test_cuda_graphs_are_for_cuda_and_never_ignored(tiny_bundle: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=f"Expected the device cuda for CUDA graphs, found '{device}'"):
        Model.load(tiny_bundle, device=device, gpu=GpuOptions(cuda_graphs=True))


NO_GPU = pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this runtime has CUDA")


@NO_GPU
def test_a_gpu_that_is_demanded_and_absent_is_an_error_and_never_the_cpu(tiny_bundle: Path) -> None:
    for device, provider in (("cuda", "CUDA"), ("cuda:1", "CUDA"), ("cuda:0,1", "CUDA"), ("tensorrt", "Tensorrt")):
        with pytest.raises(DeviceError, match=rf"Expected an ONNX Runtime with {provider}.*, found one with .*CPU"):
            Model.load(tiny_bundle, device=device)


@NO_GPU
def test_a_gpu_that_is_offered_but_not_given_is_noticed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="cuda:0"), pytest.warns(UserWarning, match="not in available provider"):
        open_sessions([tiny_bundle / "encoder.onnx"], "cuda")
    with pytest.warns(UserWarning, match="not in available provider"):
        sessions = open_sessions([tiny_bundle / "encoder.onnx"], "auto")
    assert str(sessions.place) == "cpu"
    assert "the CPU is used" in caplog.text


def test_threads_are_explicit_and_a_failing_run_never_changes_the_provider(tiny_bundle: Path) -> None:
    session = open_sessions([tiny_bundle / "encoder.onnx"], "cpu", threads=3).replicas[0][0]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert not session._enable_fallback


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda:99", "cuda:0,99"])
def test_a_gpu_that_the_machine_does_not_have_is_an_error(tiny_bundle: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        Model.load(tiny_bundle, device=device)
