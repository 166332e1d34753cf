"""Golden outputs: a few images with what every encoder of the bundle gave for them where it was exported."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from export.encoders import LowerEncoder
from export.parity import Outputs, Run, torch_outputs
from service.engine.bundle import Precision, golden_name
from service.engine.images import Pixels

__all__ = ["write_golden"]


def write_golden(
    path: Path, images: Pixels, torch: tuple[nn.Module, nn.Module], lower: Sequence[LowerEncoder], decode: Run
) -> None:
    """Writes the golden arrays as `service.engine.bundle.Golden` names them.

    Args:
        path: An `.npz` file.
        images: uint8 of shape [N, H, W, C].
        torch: Encoder and decoder, which give the outputs for float32: to that, torch is the truth.
        lower: Encoders whose own outputs are recorded, since torch's tell little of how they should come out elsewhere.
        decode: The decoder's graph, for the means of those.
    """
    encoder, decoder = torch
    mean, log_variance = torch_outputs(encoder, images)
    arrays = {"images": images} | _named("float32", [mean, log_variance, *torch_outputs(decoder, mean)])
    for each in lower:
        mean, log_variance = each.run(images)
        arrays |= _named(each.spec.precision, [mean, log_variance, *decode(mean)])
    np.savez_compressed(path, **arrays)


def _named(precision: Precision, outputs: Outputs) -> dict[str, np.ndarray]:
    names = (golden_name(field, precision) for field in ("mean", "log_variance", "decoded"))
    return dict(zip(names, outputs, strict=True))
