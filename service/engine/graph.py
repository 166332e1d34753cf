"""One graph of a bundle, ready to run: a batch goes in, its outputs come out. Knows nothing of what it computes.

On the CPU any batch size costs the same per item. On a GPU each new size is planned anew, and moving memory about costs
more than small models do: batches are padded to powers of two, and each of these has input and output on the device
that stay where they are. So CUDA graphs, which repeat the same addresses, can be recorded too.
"""

import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import DeviceError, DeviceLostError, first_line
from service.engine.lost import is_lost

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, RunOptions

__all__ = ["DeviceGraph", "Graph", "HostGraph", "bucket"]

Array = NDArray[Any]
_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}
_NO_CUDA_GRAPH = -1
_RECORDED_TOLERANCE = 0.01


class Graph(Protocol):
    """What runs; safe to use from any thread."""

    def run(self, batch: Array) -> list[Array]:
        """The outputs, in the order that was asked for, for a batch of at least one item; arrays of the caller's own.

        Raises:
            DeviceLostError: The GPU has failed.
        """

    def warm_up(self, max_batch: int) -> None:
        """Runs every size that batches of at most so many items will have; zeros go in."""


class HostGraph:
    """A graph on the CPU.

    Args:
        session: With one input.
        outputs: Names.
    """

    def __init__(self, session: "InferenceSession", outputs: Sequence[str]) -> None:
        self._session, self._outputs = session, list(outputs)
        self._input = session.get_inputs()[0]

    def run(self, batch: Array) -> list[Array]:
        """See `Graph`."""
        outputs: list[Array] = self._session.run(self._outputs, {self._input.name: batch})
        return outputs

    def warm_up(self, max_batch: int) -> None:
        """See `Graph`; the largest batch stands for all, and its memory is given back until one comes."""
        batch = np.zeros((max_batch, *self._input.shape[1:]), _DTYPES[self._input.type])
        options = importlib.import_module("onnxruntime").RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session.run(self._outputs, {self._input.name: batch}, options)


@dataclass(frozen=True)
class _Buffers:
    """Memory for batches of one size.

    Attributes:
        host: Where a smaller batch is padded.
        input: On the device.
        outputs: On the device.
        binding: Of both to the session.
    """

    host: Array
    input: "OrtValue"
    outputs: "tuple[OrtValue, ...]"
    binding: "IOBinding"


class DeviceGraph:
    """A graph on a GPU. One run at a time, as its buffers are shared.

    Args:
        session: With one input.
        outputs: Names.
        gpu: Its number; None has the buffers in ordinary memory, for a session on the CPU.
        cuda_graphs: Whether the session was opened for CUDA graphs.
    """

    def __init__(
        self, session: "InferenceSession", outputs: Sequence[str], gpu: int | None, *, cuda_graphs: bool = False
    ) -> None:
        self._session = session
        self._input = session.get_inputs()[0]
        ports = {port.name: port for port in session.get_outputs()}
        self._outputs = [ports[name] for name in outputs]
        self._where = ("cpu", 0) if gpu is None else ("cuda", gpu)
        self._cuda_graphs = cuda_graphs
        self._recorder: int | None = None
        self._buffers: dict[int, _Buffers] = {}
        self._lock = threading.Lock()

    def run(self, batch: Array) -> list[Array]:
        """See `Graph`."""
        size = bucket(len(batch))
        with self._lock:
            try:
                return self._run(batch, size)
            except Exception as error:  # ONNX Runtime's own exceptions share no base class
                if not is_lost(error):
                    raise
                where = ":".join(map(str, self._where))
                raise DeviceLostError(f"The GPU {where} has failed; start again: {first_line(error)}") from error

    def warm_up(self, max_batch: int) -> None:
        """See `Graph`. CUDA graphs are recorded, and from then on used in the calling thread and in no other.

        ONNX Runtime keeps them by thread, and nothing else of the process may use a GPU while one is recorded.

        Raises:
            DeviceLostError: The GPU has failed.
            DeviceError: What was recorded gives other outputs than the kernels do one by one.
        """
        self._recorder = threading.get_ident() if self._cuda_graphs else None
        largest = bucket(max_batch)
        # The largest first, so that memory is taken once; then the smallest, so that TensorRT knows both ends.
        for size in (largest, *(1 << power for power in range(largest.bit_length() - 1))):
            self.run(np.zeros((size, *self._input.shape[1:]), _DTYPES[self._input.type]))
            if self._cuda_graphs:
                self._check_recorded(size)

    def _check_recorded(self, size: int) -> None:
        """A kernel that takes arguments from memory which it gives back is recorded without an error, and wrongly."""
        dtype = _DTYPES[self._input.type]
        noise = np.random.default_rng(size).uniform(0, 256 if dtype is np.uint8 else 1, (size, *self._input.shape[1:]))
        batch = noise.astype(dtype)
        found = self.run(batch)
        recorder, self._recorder = self._recorder, None
        expected = self.run(batch)
        self._recorder = recorder
        for port, a, b in zip(self._outputs, found, expected, strict=True):
            difference = float(np.abs(a.astype(np.float64) - b).max())
            if not difference <= _RECORDED_TOLERANCE * max(1.0, float(np.abs(b).max())):
                raise DeviceError(
                    f"Expected CUDA graphs to give the same {port.name}, found a difference of {difference:g} in "
                    f"batches of {size}: do without CUDA graphs for this model."
                )

    def _run(self, batch: Array, size: int) -> list[Array]:
        if size not in self._buffers:
            self._buffers[size] = self._allocate(size)
        buffers = self._buffers[size]
        if len(batch) < size:
            buffers.host[: len(batch)] = batch
            buffers.host[len(batch) :] = 0  # nothing of an earlier batch
            buffers.input.update_inplace(buffers.host)
        else:
            buffers.input.update_inplace(np.ascontiguousarray(batch))
        self._session.run_with_iobinding(buffers.binding, self._options(size))
        # Copied, because on the CPU this is the buffer itself, and what is kept should not keep the padding.
        return [output.numpy()[: len(batch)].copy() for output in buffers.outputs]

    def _options(self, size: int) -> "RunOptions | None":
        if not self._cuda_graphs:
            return None
        options = importlib.import_module("onnxruntime").RunOptions()
        recorded = self._recorder == threading.get_ident()
        options.add_run_config_entry("gpu_graph_id", str(size if recorded else _NO_CUDA_GRAPH))
        return options

    def _allocate(self, size: int) -> _Buffers:
        value = importlib.import_module("onnxruntime").OrtValue
        host = np.zeros((size, *self._input.shape[1:]), _DTYPES[self._input.type])
        binding = self._session.io_binding()
        taken = value.ortvalue_from_shape_and_type(host.shape, host.dtype, *self._where)
        binding.bind_ortvalue_input(self._input.name, taken)
        given = []
        for port in self._outputs:
            shape = (size, *port.shape[1:])
            given.append(value.ortvalue_from_shape_and_type(shape, _DTYPES[port.type], *self._where))
            binding.bind_ortvalue_output(port.name, given[-1])
        return _Buffers(host, taken, tuple(given), binding)


def bucket(size: int) -> int:
    """The power of two that holds `size` items."""
    return 1 << (size - 1).bit_length()
