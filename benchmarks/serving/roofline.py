"""What a device could do at best with a graph: its arithmetic and bytes, over what the device was measured to give.

Everything is measured through ONNX Runtime, opened as the service opens it, with graphs made for the purpose.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, shape_inference

from service.engine.device import open_sessions
from service.engine.place import read_place

__all__ = ["Bound", "Cost", "Peaks", "bound", "graph_cost", "measure_peaks", "rate"]

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
_UPLOAD_BYTES = 64 * 2**20
_HALVES = 2  # a multiply-add is two operations


@dataclass(frozen=True)
class Cost:
    """What a graph has to do.

    Attributes:
        flops: For each image, of convolutions and matrix products.
        input_bytes: Of each image.
        output_bytes: Likewise.
        node_bytes: For each image, what all nodes read and write if each runs by itself.
        weight_bytes: Read once for each batch.
    """

    flops: int
    input_bytes: int
    output_bytes: int
    node_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class Peaks:
    """What a device was measured to give, in one second.

    Attributes:
        flops: Of square matrix products, by precision.
        memory_bytes: Read and written in its own memory.
        upload_bytes: From arrays to its memory.
    """

    flops: dict[str, float]
    memory_bytes: float
    upload_bytes: float


@dataclass(frozen=True)
class Bound:
    """Images per second that a device cannot exceed, by each of its limits.

    Attributes:
        compute: By arithmetic.
        memory: By its memory, if only images, embeddings and weights pass through it.
        memory_by_node: By its memory, if every node reads and writes all it needs.
        upload: By the way to its memory.
    """

    compute: float
    memory: float
    memory_by_node: float
    upload: float

    @property
    def best(self) -> float:
        """The lowest that no kernel could avoid."""
        return min(self.compute, self.memory, self.upload)


def graph_cost(file: Path) -> Cost:
    """Counts, for one image, what stands in an ONNX file whose first axis is the batch."""
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = {each.name: each.type.tensor_type for each in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {name: [dim.dim_value for dim in each.shape.dim] for name, each in values.items()}
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}

    def size_bytes(names: list[str]) -> int:
        types = [(name, helper.tensor_dtype_to_np_dtype(values[name].elem_type)) for name in names if name in values]
        return sum(int(np.prod(shapes[name])) * dtype.itemsize for name, dtype in types)

    known = shapes | {name: list(each.shape) for name, each in weights.items()}
    return Cost(
        flops=sum(_flops(node, known) for node in graph.node),
        input_bytes=size_bytes([each.name for each in graph.input]),
        output_bytes=size_bytes([each.name for each in graph.output]),
        node_bytes=sum(size_bytes([*node.input, *node.output]) for node in graph.node),
        weight_bytes=sum(each.nbytes for each in weights.values()),
    )


def _flops(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Conv":  # every output pixel sees a window of its group's channels
        return _HALVES * int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
    if node.op_type == "ConvTranspose":  # every input pixel paints such a window
        return _HALVES * int(np.prod(shapes[node.input[0]]) * np.prod(shapes[node.input[1]][1:]))
    if node.op_type in {"Gemm", "MatMul"}:
        first = shapes[node.input[0]]
        return _HALVES * int(np.prod(shapes[node.output[0]])) * (first[0] if attributes.get("transA") else first[-1])
    return 0


def bound(cost: Cost, peaks: Peaks, precision: str, batch: int) -> Bound:
    """Divides what the device gives by what an image of a batch of that size needs."""
    weights = cost.weight_bytes / batch
    return Bound(
        compute=peaks.flops["float16" if precision == "float16" else "float32"] / cost.flops,
        memory=peaks.memory_bytes / (cost.input_bytes + cost.output_bytes + weights),
        memory_by_node=peaks.memory_bytes / (cost.node_bytes + weights),
        upload=peaks.upload_bytes / cost.input_bytes,
    )


def measure_peaks(device: str, side: int, seconds: float) -> Peaks:
    """Measures matrix products of `side` × `side`, the negation of a tensor of their size, and a copy to the device.

    Args:
        device: Of one GPU, or the CPU.
        side: Large enough that the arithmetic outweighs everything else.
        seconds: For each figure.
    """
    flops = {}
    for precision, kind in _TYPES.items():
        weight = np.random.default_rng(0).normal(0, side**-0.5, (side, side))
        tensor = numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(kind)), "weight")
        product = helper.make_node("MatMul", ["x", "weight"], ["y"])
        flops[precision] = _HALVES * side**3 * _runs_per_s(device, product, [tensor], kind, side, seconds)
    negation = helper.make_node("Neg", ["x"], ["y"])
    runs = _runs_per_s(device, negation, [], TensorProto.FLOAT, side, seconds)
    host = np.ones(min(_UPLOAD_BYTES, 4 * side**2), np.uint8)
    there = ort.OrtValue.ortvalue_from_shape_and_type(host.shape, host.dtype, *_where(device))
    return Peaks(flops, 8 * side**2 * runs, host.nbytes * rate(lambda: there.update_inplace(host), seconds))


def _runs_per_s(
    device: str, node: onnx.NodeProto, weights: list[onnx.TensorProto], kind: int, side: int, seconds: float
) -> float:
    """Of a graph of one node, whose input and output stay on the device."""
    x, y = (helper.make_tensor_value_info(name, kind, ["n", side]) for name in "xy")
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(helper.make_graph([node], "peak", [x], [y], weights), opset_imports=opset, ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "peak.onnx"
        onnx.save(model, file)
        ((session,),) = open_sessions([file], device, half=[file] if kind == TensorProto.FLOAT16 else []).replicas
    binding, dtype = session.io_binding(), helper.tensor_dtype_to_np_dtype(kind)
    given = ort.OrtValue.ortvalue_from_shape_and_type([side, side], dtype, *_where(device))
    given.update_inplace(np.ones((side, side), dtype))
    binding.bind_ortvalue_input("x", given)
    taken = ort.OrtValue.ortvalue_from_shape_and_type([side, side], dtype, *_where(device))
    binding.bind_ortvalue_output("y", taken)
    return rate(lambda: session.run_with_iobinding(binding), seconds)


def _where(device: str) -> tuple[str, int]:
    gpus = read_place(device).gpus
    return ("cuda", gpus[0]) if gpus else ("cpu", 0)


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second, for some seconds after two that do not count."""
    call()
    call()
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds or not count:
        call()
        count += 1
    return count / passed
