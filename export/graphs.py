"""The two ONNX graphs of a bundle, with scaling and layout inside: uint8 images in, uint8 images out.

What is traced here is all that serving will ever compute, so nothing is left for the service to get wrong.
"""

import contextlib
import itertools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from training.generative import GenerativeModel
from training.health import to_pixels

__all__ = ["OPSET", "DecoderGraph", "EncoderGraph", "write_decoder", "write_encoder"]

OPSET = 18
_EXAMPLES = 4
"""Items of the traced input; one would be taken for a constant."""


class EncoderGraph(nn.Module):
    """Images uint8 [N, H, W, C] to posterior mean and log variance, float32 [N, D]."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Traced."""
        return self.model.posterior(to_pixels(images))


class DecoderGraph(nn.Module):
    """Latents float32 [N, D] to the mean image of p(x | z), rounded to uint8 [N, H, W, C]."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        """Traced."""
        pixels = self.model.decode(latents).permute(0, 2, 3, 1)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Holds back what torch's exporter says of itself: its own deprecations, and that torchvision is not installed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def write_encoder(encoder: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Exports an encoder, in evaluation mode on the CPU, to one file.

    Args:
        encoder: Images uint8 [N, H, W, C] to mean and log variance, as `EncoderGraph`.
        shape: Height, width and channels.
        path: The file to write.
    """
    example = torch.zeros(_EXAMPLES, *shape, dtype=torch.uint8)
    _write_graph(encoder, example, path, inputs=["images"], outputs=["mean", "log_variance"])


def write_decoder(decoder: nn.Module, dim: int, path: Path) -> None:
    """Exports a decoder, latents float32 [N, dim] to images, in the same way."""
    _write_graph(decoder, torch.zeros(_EXAMPLES, dim), path, inputs=["latents"], outputs=["images"])


def _write_graph(module: nn.Module, example: Tensor, path: Path, *, inputs: list[str], outputs: list[str]) -> None:
    """Exports a module to one file, with the first axis of its input free."""
    batch = torch.export.Dim("batch", min=1, max=65_536)
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export gave no program")
        graph = program.model_proto
    _forget_origin(graph)
    onnx.save(graph, path)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Takes out what the exporter notes of where each node came from.

    Its stack traces are paths of the machine that exported, which are nobody's business and would give the same weights
    another hash on the next machine.
    """
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.input, graph.output, graph.value_info, (graph, model))
    for part in itertools.chain.from_iterable(parts):
        del part.metadata_props[:]
        part.doc_string = ""
