"""A GPU that is gone is told from one that is full, by the words that ONNX Runtime uses."""

import pytest

from service.engine.lost import is_lost

_REST = "; GPU=0 ; hostname=box ; file=/src/cuda_execution_provider.cc ; line=442 ; expr=cudaStreamSynchronize(s); "


@pytest.mark.parametrize(
    "failure",
    [
        "CUDA failure 700: an illegal memory access was encountered ",
        "CUDA failure 214: uncorrectable ECC error encountered ",
        "CUDA failure 719: unspecified launch failure ",
        "CUDA failure 999: unknown error ",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ",
        "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ",
        "CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ",
    ],
)
def test_a_failure_of_the_driver_or_its_libraries_is_the_end(failure: str) -> None:
    text = f"[ONNXRuntimeError] : 1 : FAIL : Non-zero status code while running Conv node. {failure}{_REST}"
    assert is_lost(RuntimeError(text))


def test_a_failure_inside_tensorrt_is_the_end() -> None:
    assert is_lost(RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP execution context enqueue failed."))


@pytest.mark.parametrize(
    "text",
    [
        f"CUDA failure 2: out of memory {_REST}",
        f"CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED {_REST}",
        f"CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED {_REST}",
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 4294967296",
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: images",
        "The input size of numpy arrays does not match the size of the OrtValue.",
        "",
    ],
)
def test_want_of_memory_and_mistakes_of_the_caller_are_not(text: str) -> None:
    assert not is_lost(RuntimeError(text))
