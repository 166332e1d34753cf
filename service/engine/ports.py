"""Whether a graph's inputs and outputs are those that its manifest promises."""

from pathlib import Path
from typing import TYPE_CHECKING

from service.engine.bundle import BundleError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Ports", "check_ports"]

Ports = dict[str, tuple[str, tuple[int, ...]]]
"""Inputs or outputs of a graph: name to type and shape, without the batch axis."""


def check_ports(file: Path, session: "InferenceSession", inputs: Ports, outputs: Ports) -> None:
    """Compares names, types and shapes.

    Raises:
        BundleError: One differs, or the batch axis is fixed.
    """
    for what, expected, nodes in (
        ("inputs", inputs, session.get_inputs()),
        ("outputs", outputs, session.get_outputs()),
    ):
        found = {node.name: (node.type, tuple(node.shape[1:])) for node in nodes}
        if found != expected:
            raise BundleError(f"{file}: expected {what} {_describe(expected)}, found {_describe(found)}.")
        for node in nodes:
            if isinstance(node.shape[0], int):
                raise BundleError(f"{file}: expected any batch size in {node.name}, found {node.shape[0]} fixed.")


def _describe(ports: Ports) -> str:
    return ", ".join(f"{name} {kind}{['N', *shape]}" for name, (kind, shape) in ports.items())
