"""What a run is made of before it runs: the device, and a model with its first weights."""

import os

import torch
from lightning_fabric import Fabric

from training.batches import generator_for
from training.config import Config
from training.discriminative import DiscriminativeModel
from training.generative import GenerativeModel
from training.model import EmbeddingModel

__all__ = ["build_model", "make_fabric"]


def make_fabric(device: str, precision: str) -> Fabric:
    """Sets up device and precision; in a process that torchrun started, joins the others of its group.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`; under torchrun without N, since every process has a GPU of its own.
        precision: As Fabric names it.

    Raises:
        ValueError: Not such a device, or a GPU was demanded and there is none.
    """
    kind, _, index = device.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (index and not index.isdecimal()):
        raise ValueError(f"expected a device of auto, cpu, cuda or cuda:N, found {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"expected a GPU for device {device!r}, found none that torch can use; choose cpu")
    if not torch.distributed.is_torchelastic_launched():
        devices = [int(index)] if index else 1
        return Fabric(accelerator=kind, devices=devices, precision=precision)  # type: ignore[arg-type]
    if index:
        raise ValueError(f"expected a device without a number under torchrun, found {device!r}; choose {kind}")
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    fabric = Fabric(
        accelerator=kind,
        devices=here,
        num_nodes=everywhere // here,
        strategy="ddp",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def build_model(config: Config, shape: tuple[int, int, int]) -> EmbeddingModel:
    """A model whose first weights depend on the seed alone; torch's global generator is left as it was.

    Args:
        config: The run's.
        shape: Height, width and channels of an image.
    """
    kind = GenerativeModel if config.objective.generative else DiscriminativeModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(torch.device("cpu"), config.seed, "weights").initial_seed())
        model = kind(config, shape)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # missing in torch's stubs
