"""Where graphs run: ONNX Runtime's sessions with explicit options, and no silent fallback from GPU to CPU.

Knows files and devices; what a graph computes is `service.engine.model`.
"""

import importlib
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from service.engine import cpu
from service.engine.bundle import BundleError
from service.engine.errors import DeviceError
from service.engine.wheels import check_runtime

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Sessions", "open_sessions"]

_log = logging.getLogger(__name__)

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# Creating sessions at the same time is not safe: https://github.com/microsoft/onnxruntime/issues/27089
_creating = threading.Lock()


@dataclass(frozen=True)
class Sessions:
    """The graphs of one bundle on one device.

    Attributes:
        device: `cpu` or `cuda:N`; never `auto`.
        provider: What ONNX Runtime calls it.
        graphs: One `onnxruntime.InferenceSession` per file, in order.
    """

    device: str
    provider: str
    graphs: "tuple[onnxruntime.InferenceSession, ...]"


def open_sessions(files: Sequence[Path], device: str, threads: int | None = None) -> Sessions:
    """Opens graphs on a device.

    Args:
        files: ONNX files.
        device: `cpu`; `cuda` or `cuda:N`, which is that GPU or an error; `auto`, which is the first GPU if a session
            really gets it, else the CPU.
        threads: Of one run on the CPU; None takes half of the usable CPUs.

    Raises:
        DeviceError: The device is unknown or cannot be had, or ONNX Runtime is not installed properly.
        BundleError: A file is not a graph that ONNX Runtime can load.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise DeviceError(f"Expected the device auto, cpu, cuda or cuda:N; found {device!r}.")
    ort = _import_runtime()
    if device.startswith("cuda"):
        return _open_on_gpu(ort, files, int(device.partition(":")[2] or 0), strict=True)
    if device == "auto" and _CUDA in ort.get_available_providers():
        try:
            return _open_on_gpu(ort, files, 0, strict=False)
        except DeviceError:
            _log.warning("No session gets the GPU, so the CPU is used.", exc_info=True)
    return _open_on_cpu(ort, files, threads or cpu.inference_threads(cpu.usable_cpus()))


def _import_runtime() -> ModuleType:
    """Imported here and not above, so that a missing or doubled wheel is one sentence and not a traceback."""
    check_runtime()
    return importlib.import_module("onnxruntime")


def _open_on_cpu(ort: ModuleType, files: Sequence[Path], threads: int) -> Sessions:
    options = _options(ort)
    # Explicit, because the default counts the host's cores and pins threads to them, which a container forbids.
    options.intra_op_num_threads = threads
    sessions = []
    for file in files:
        try:
            sessions.append(_open(ort, file, options, [_CPU]))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(
                f"{file}: expected a graph that ONNX Runtime loads, found {_first_line(error)}"
            ) from error
    return Sessions("cpu", _CPU, tuple(sessions))


def _open_on_gpu(ort: ModuleType, files: Sequence[Path], number: int, *, strict: bool) -> Sessions:
    """Every session must get the GPU; when strict, for every one of its nodes."""
    if _CUDA not in ort.get_available_providers():
        raise DeviceError(
            f"Expected an ONNX Runtime with CUDA, found one with {', '.join(ort.get_available_providers())}: "
            "install simvae with the extra gpu instead of cpu, or choose the device cpu."
        )
    ort.preload_dlls(directory="")  # finds the CUDA libraries that pip installed; without it cuDNN is "not found"
    options = _options(ort)
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {
        "device_id": str(number),
        "use_tf32": "0",  # full float32, so that vectors are those of the export
        "cudnn_conv_algo_search": "HEURISTIC",  # the default times every algorithm anew for every batch size
        "arena_extend_strategy": "kSameAsRequested",
    }
    providers = [(_CUDA, settings)] if strict else [(_CUDA, settings), _CPU]
    try:
        sessions = tuple(_open(ort, file, options, providers) for file in files)
    except Exception as error:  # as above
        raise DeviceError(f"The GPU cuda:{number} cannot be used: {_first_line(error)}") from error
    found = {session.get_providers()[0] for session in sessions}
    if found != {_CUDA}:
        raise DeviceError(
            f"Expected the GPU cuda:{number}, but the sessions got {', '.join(sorted(found))}: "
            "check the NVIDIA driver and that its CUDA version fits this onnxruntime-gpu."
        )
    return Sessions(f"cuda:{number}", _CUDA, sessions)


def _options(ort: ModuleType) -> "onnxruntime.SessionOptions":
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings speak of optimisations
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a spinning core cannot decode images
    return options


def _open(
    ort: ModuleType, file: Path, options: "onnxruntime.SessionOptions", providers: list[Any]
) -> "onnxruntime.InferenceSession":
    with _creating:
        # Fallback would re-create a failing session on another provider, in the middle of a request, and go on.
        return ort.InferenceSession(file, options, providers=providers, enable_fallback=0)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
