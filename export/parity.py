"""Whether the exported graphs compute what torch computes, batch size by batch size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from service.engine.device import open_sessions
from service.engine.images import Pixels

__all__ = [
    "BATCHES",
    "Outputs",
    "Parity",
    "ParityError",
    "Run",
    "check_parity",
    "difference",
    "open_graph",
    "open_unfused",
    "torch_outputs",
]

BATCHES = (1, 2, 7, 64)
EMBEDDING_TOLERANCE = 1e-4
GREY_TOLERANCE = 1.0

Outputs = list[NDArray[Any]]
Run = Callable[[NDArray[Any]], Outputs]


class ParityError(Exception):
    """An exported graph that differs from torch by more than is allowed."""


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences between torch and ONNX Runtime on the CPU, over all batch sizes.

    Attributes:
        embedding: Of mean and log variance, in latent units.
        image: Of decoded pixels, in grey levels.
    """

    embedding: float
    image: float


def check_parity(encoder: nn.Module, decoder: nn.Module, sessions: tuple[Run, Run], images: Pixels) -> Parity:
    """Compares both graphs with the modules they were traced from.

    Args:
        encoder: Images to mean and log variance.
        decoder: Latents to images.
        sessions: The exported encoder and decoder.
        images: uint8 of shape [N, H, W, C]; fewer than a batch holds are repeated.

    Raises:
        ParityError: A difference beyond 1e-4 in an embedding, or one grey level in an image.
    """
    embedding = image = 0.0
    for batch in BATCHES:
        pixels = np.resize(images, (batch, *images.shape[1:]))
        expected = torch_outputs(encoder, pixels)
        embedding = max(embedding, difference(expected, sessions[0](pixels)))
        image = max(image, difference(torch_outputs(decoder, expected[0]), sessions[1](expected[0])))
    if not embedding <= EMBEDDING_TOLERANCE:
        raise ParityError(
            f"expected embeddings within {EMBEDDING_TOLERANCE} of torch, found {embedding:.2g}; nothing was exported."
        )
    if not image <= GREY_TOLERANCE:
        raise ParityError(
            f"expected images within {GREY_TOLERANCE:.0f} grey level of torch, found {image:.3g}; nothing was exported."
        )
    return Parity(embedding, image)


def open_graph(path: Path) -> Run:
    """Opens a graph as the service does, on one thread of the CPU.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """
    ((session,),) = open_sessions((path,), "cpu", threads=1).replicas
    return _runner(session)


def open_unfused(path: Path) -> Run:
    """Opens a graph that runs node by node as it stands, where the service would join nodes into faster kernels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _runner(ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


def _runner(session: ort.InferenceSession) -> Run:
    name = session.get_inputs()[0].name
    return lambda batch: [np.asarray(output) for output in session.run(None, {name: batch})]


@torch.no_grad()
def torch_outputs(module: nn.Module, batch: NDArray[Any]) -> Outputs:
    """What a module gives for a batch, as arrays."""
    outputs = module(torch.from_numpy(batch))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def difference(expected: Outputs, found: Outputs) -> float:
    """The largest absolute difference of any output."""
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) for a, b in pairs)
