"""What ONNX Runtime is told about a GPU: the options of its CUDA and TensorRT providers. Opens nothing."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from service.engine.errors import DeviceError

__all__ = ["CPU", "CUDA", "NAMES", "TENSORRT", "GpuOptions", "Provider", "cuda", "tensorrt"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
NAMES = {"cuda": CUDA, "tensorrt": TENSORRT}

Provider = tuple[str, dict[str, str]]
"""A name with its options."""


@dataclass(frozen=True)
class GpuOptions:
    """What may be chosen about a GPU.

    Attributes:
        cuda_graphs: Whether the kernels of each batch size are recorded once and then started together; `cuda` only.
            Load every model before any is used: while one records, nothing else of the process may use a GPU.
        tensorrt_cache: Where TensorRT keeps the engines it built; None builds them at every start.
    """

    cuda_graphs: bool = False
    tensorrt_cache: Path | None = None


def cuda(gpu: int, options: GpuOptions) -> list[Provider]:
    """CUDA alone, on the GPU of that number."""
    settings = {
        "device_id": str(gpu),
        "use_tf32": "0",  # full float32, so that vectors are those of the export
        "cudnn_conv_algo_search": "HEURISTIC",  # the default times every algorithm anew for every batch size
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": str(int(options.cuda_graphs)),
    }
    return [(CUDA, settings)]


def tensorrt(gpu: int, options: GpuOptions, file: Path, *, half: bool) -> list[Provider]:
    """TensorRT, and CUDA for the nodes that it does not take.

    Args:
        gpu: The number of the GPU.
        options: Where engines are kept.
        file: The graph; its content names the folder of its engines, which is made.
        half: Whether the graph computes in float16. TensorRT must be allowed to, or widens it.

    Raises:
        DeviceError: The folder cannot be made.
    """
    # TensorRT rounds factors to 10 bits otherwise, and has no option against it here. Read when CUDA's libraries load.
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    # No profile of shapes: it would have to name the inputs of the parts that TensorRT takes, which it decides. Without
    # one it learns the range from what it is given, so the warm-up begins with the largest batch and the smallest.
    settings = {"device_id": str(gpu), "trt_fp16_enable": str(half)}
    if options.tensorrt_cache is not None:
        folder = _made(options.tensorrt_cache / hashlib.sha256(file.read_bytes()).hexdigest()[:16])
        settings |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        }
    return [(TENSORRT, settings), *cuda(gpu, options)]


def _made(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeviceError(
            f"Expected a directory for TensorRT's engines that can be made, found {folder}: {error.strerror}."
        ) from error
    return str(folder)
