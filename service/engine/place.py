"""The words for a device: `auto`, `cpu`, `cuda`, `cuda:1`, `cuda:0,1`, and `tensorrt` like `cuda`. Knows no ONNX."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from service.engine.errors import DeviceError

__all__ = ["PATTERN", "Kind", "Place", "read_place"]

Kind = Literal["auto", "cpu", "cuda", "tensorrt"]
PATTERN = r"auto|cpu|(cuda|tensorrt)(:[0-9]{1,3}(,[0-9]{1,3})*)?"


@dataclass(frozen=True)
class Place:
    """What a device's words mean.

    Attributes:
        kind: What computes.
        gpus: Numbers of the GPUs; none for the CPU, and none for `auto`, which is not decided yet.
    """

    kind: Kind
    gpus: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(map(str, self.gpus))}" if self.gpus else self.kind


def read_place(device: str) -> Place:
    """Reads the words; `cuda` and `tensorrt` without a number are the first GPU.

    Raises:
        DeviceError: They mean nothing, or name a GPU twice.
    """
    if not re.fullmatch(PATTERN, device):
        raise DeviceError(
            f"Expected the device auto, cpu, cuda, cuda:N, cuda:N,M or the same with tensorrt; found {device[:100]!r}."
        )
    kind, _, numbers = device.partition(":")
    gpus = tuple(int(number) for number in (numbers or "0").split(","))
    if len(set(gpus)) < len(gpus):
        raise DeviceError(f"Expected every GPU once, found the device {device!r}.")
    return Place(cast("Kind", kind), () if kind in {"auto", "cpu"} else gpus)
