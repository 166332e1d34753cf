"""Whether an error of ONNX Runtime means that the GPU will not compute again in this process."""

import re

__all__ = ["is_lost"]

# As ONNX Runtime writes errors of CUDA, cuBLAS, cuDNN and their kin: "CUDA failure 700: an illegal memory access …".
_FAILURE = re.compile(r"\bCU[A-Z_]+ failure \d+: ([^;]*)")
_NO_MEMORY = re.compile(r"out of memory|ALLOC(ATION)?_FAILED", re.IGNORECASE)
_TENSORRT = "TensorRT EP execution context enqueue failed"


def is_lost(error: BaseException) -> bool:
    """Whether the driver or a library below ONNX Runtime has failed, and not for want of memory.

    Inputs have fixed types and shapes, and every shape was run before, so it is no image's fault. After most such
    errors CUDA answers every call of the process with the same error; a new process can start anew.
    """
    text = str(error)
    failure = _FAILURE.search(text)
    return _TENSORRT in text or (failure is not None and not _NO_MEMORY.search(failure[1]))
