"""A graph runs where it was asked to run, or the one who asked is told."""

import subprocess
import sys
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


WIDE = """
import re
import sys
from pathlib import Path

import numpy as np
from onnx import helper, save

from service.engine.device import open_sessions
from service.engine.graph import HostGraph


def memory_mib() -> float:
    return int(re.search(r"Pss_Anon: +(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1]) / 1024


shape = ["N", 1024, 1024]
layers = [helper.make_node("Softmax", ["x0"], ["x1"], axis=1), helper.make_node("GlobalAveragePool", ["x1"], ["x2"])]
ends = [helper.make_tensor_value_info(*port) for port in (("x0", 1, shape), ("x2", 1, ["N", 1024, 1]))]
file = Path(sys.argv[1])
save(helper.make_model(helper.make_graph(layers, "wide", ends[:1], ends[1:]), ir_version=10), file)
batch = np.zeros((8, 1024, 1024), np.float32)
graphs = [HostGraph(open_sessions([file], "cpu", 1).replicas[0][0], ["x2"]) for _ in range(3)]
graphs[0].run(batch[:1])
found = [memory_mib()]
graphs[0].warm_up(8)
found.append(memory_mib())
for graph in graphs:
    graph.run(batch)
    found.append(memory_mib())
print(*(f"{after - before:.1f}" for before, after in zip(found, found[1:])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_sessions_share_the_memory_of_a_batch_and_a_warm_up_keeps_none(tmp_path: Path) -> None:
    """What is between the two layers takes 32 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", WIDE, tmp_path / "wide.onnx"], capture_output=True, text=True, check=True
    )
    warmed, first, *others = map(float, done.stdout.split())
    assert warmed < 8
    assert first >= 32
    assert max(others) < 8


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda:99", "cuda:0,99"])
def test_a_gpu_that_the_machine_does_not_have_is_an_error(tiny_bundle: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        Model.load(tiny_bundle, device=device)
