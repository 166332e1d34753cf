"""Encoders in lower precision: float16 traced from torch, int8 quantised from the float32 graph on real images.

In both, the last layer stays in float32: it gives means and log variances, and costs next to nothing.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from export.graphs import EncoderGraph
from service.engine.images import Pixels
from training.generative import GenerativeModel

__all__ = ["float16_graph", "write_int8"]

_BATCH = 64
_QUANTISED = ["Conv", "Gemm", "MatMul", "Relu"]
"""What runs on integers; a ReLU among them costs nothing, because it disappears into the range of its input."""
_LINEAR = {"Gemm", "MatMul"}


def float16_graph(model: GenerativeModel) -> EncoderGraph:
    """The encoder with weights and arithmetic in float16 up to its last layer; inputs and outputs as of float32.

    Args:
        model: Left as it is.
    """
    half = copy.deepcopy(model)
    *body, head = half.encoder
    half.encoder = nn.Sequential(_To(torch.float16), *(layer.half() for layer in body), _To(torch.float32), head)
    return EncoderGraph(half).eval()


class _To(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, values: Tensor) -> Tensor:
        return values.to(self.dtype)


def write_int8(float32: Path, images: Pixels, path: Path) -> None:
    """Quantises weights (per channel) and activations (by the range that real images give) to signed 8-bit integers.

    A first convolution stays in float32 too: over one or three channels, integers are slower.

    Args:
        float32: The encoder's graph.
        images: uint8 of shape [N, H, W, C], of those the model was trained on.
        path: The file to write, in the QDQ format.
    """
    prepared = path.with_suffix(".prepared")
    try:
        quant_pre_process(str(float32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # x86 without VNNI clips sums of full 8-bit products, and would give other vectors
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=_kept_nodes(onnx.load(prepared).graph),
        )
    finally:
        prepared.unlink(missing_ok=True)


def _kept_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the first convolution, if any, and of the last linear layer; nodes are in the order of computation."""
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    linear = [node.name for node in graph.node if node.op_type in _LINEAR]
    return [*convolutions[:1], *linear[-1:]]


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Images a batch at a time, as the graph's input."""

    def __init__(self, images: Pixels) -> None:
        self._batches: Iterator[Pixels] = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.asarray(batch)}
