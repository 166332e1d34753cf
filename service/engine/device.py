"""Where graphs run: ONNX Runtime's sessions with explicit options, and no silent fallback from GPU to CPU.

Knows files and devices; what a graph computes is `service.engine.model`.
"""

import functools
import importlib
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from service.engine import cpu, providers
from service.engine.bundle import BundleError
from service.engine.errors import DeviceError, first_line
from service.engine.place import Place, read_place
from service.engine.providers import CPU, CUDA, GpuOptions, Provider
from service.engine.wheels import check_runtime

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Sessions", "open_sessions"]

_log = logging.getLogger(__name__)

_HINT = (
    "Check the NVIDIA driver, and that the libraries of CUDA, cuDNN and TensorRT fit this onnxruntime-gpu; "
    "ONNX Runtime's own lines in the log name what is missing."
)

# Creating sessions at the same time is not safe: https://github.com/microsoft/onnxruntime/issues/27089
_creating = threading.Lock()


@dataclass(frozen=True)
class Sessions:
    """The graphs of one bundle on one device.

    Attributes:
        place: Where they are; never `auto`.
        provider: What ONNX Runtime calls it.
        replicas: For the CPU, or for each GPU of the place in order: one `onnxruntime.InferenceSession` per file.
    """

    place: Place
    provider: str
    replicas: "tuple[tuple[onnxruntime.InferenceSession, ...], ...]"


def open_sessions(
    files: Sequence[Path],
    device: str,
    threads: int | None = None,
    options: GpuOptions | None = None,
    half: Collection[Path] = (),
) -> Sessions:
    """Opens graphs on a device.

    Args:
        files: ONNX files.
        device: `cpu`; `cuda` or `cuda:N`, which is that GPU or an error; `cuda:N,M`, which is all of these GPUs or an
            error; the same with `tensorrt`; `auto`, which is the first GPU if a session really gets it, else the CPU.
        threads: Of one run on the CPU; None takes half of the usable CPUs.
        options: Of GPUs; None takes the defaults.
        half: Those of the files that compute in float16.

    Raises:
        DeviceError: The device is unknown or cannot be had, or ONNX Runtime is not installed properly.
        BundleError: A file is not a graph that ONNX Runtime can load.
    """
    place, options = read_place(device), options or GpuOptions()
    if options.cuda_graphs and place.kind != "cuda":
        raise DeviceError(f"Expected the device cuda for CUDA graphs, found {device!r}: choose it, or do without them.")
    ort = _import_runtime()
    if place.gpus:
        return _open_on_gpus(ort, files, place, options, half, strict=True)
    if place.kind == "auto" and CUDA in ort.get_available_providers():
        try:
            return _open_on_gpus(ort, files, Place("cuda", (0,)), options, half, strict=False)
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
    options.add_session_config_entry("session.use_env_allocators", "1")
    with _creating:
        _share_memory(ort)
    sessions = []
    for file in files:
        try:
            sessions.append(_open(ort, file, options, [CPU]))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(f"{file}: expected a graph that ONNX Runtime loads, found {first_line(error)}") from error
    return Sessions(Place("cpu"), CPU, (tuple(sessions),))


@functools.cache
def _share_memory(ort: ModuleType) -> None:
    """Has all sessions on the CPU take their memory from one arena, where what one leaves serves the next.

    An arena grows to what the largest batch needs and is kept; otherwise every session has its own.
    """
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(0, -1, -1, -1))  # -1: as ONNX Runtime has them


def _open_on_gpus(
    ort: ModuleType,
    files: Sequence[Path],
    place: Place,
    options: GpuOptions,
    half: Collection[Path],
    *,
    strict: bool,
) -> Sessions:
    """Every session must get its GPU; when strict, for every one of its nodes."""
    wanted = providers.NAMES[place.kind]
    if wanted not in ort.get_available_providers():
        raise DeviceError(
            f"Expected an ONNX Runtime with {wanted}, found one with {', '.join(ort.get_available_providers())}: "
            "install simvae with the extra gpu instead of cpu, or choose the device cpu."
        )
    ort.preload_dlls(directory="")  # finds the CUDA libraries that pip installed; without it cuDNN is "not found"
    replicas = []
    for gpu in place.gpus:
        sessions = []
        for file in files:
            if place.kind == "tensorrt":
                chosen = providers.tensorrt(gpu, options, file, half=file in half)
            else:
                chosen = providers.cuda(gpu, options)
            sessions.append(_open_on_gpu(ort, file, f"{place.kind}:{gpu}", chosen, strict=strict))
        replicas.append(tuple(sessions))
    return Sessions(place, wanted, tuple(replicas))


def _open_on_gpu(
    ort: ModuleType, file: Path, name: str, chosen: list[Provider], *, strict: bool
) -> "onnxruntime.InferenceSession":
    options = _options(ort)
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = _open(ort, file, options, [*chosen] if strict else [*chosen, CPU])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise DeviceError(f"The GPU {name} cannot be used: {first_line(error).rstrip('.')}. {_HINT}") from error
    wanted, found = chosen[0][0], session.get_providers()[0]
    if found != wanted:
        raise DeviceError(f"Expected {wanted} on the GPU {name}, but a session got {found}. {_HINT}")
    return session


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
