"""A model that stands on two GPUs in every respect but one: its sessions and buffers are the CPU's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.device import open_sessions
from service.engine.graph import DeviceGraph
from service.engine.model import Model, Replica


@pytest.fixture
def as_on_gpus() -> Callable[..., Model]:
    """Loads a bundle so: `as_on_gpus(tiny_bundle, gpus=2)`."""

    def load(bundle: Path, gpus: int = 2) -> Model:
        model = Model.load(bundle, device="cpu", threads=1, threads_alone=1)
        replicas = []
        for _ in range(gpus):
            files = (bundle / "encoder.onnx", bundle / "decoder.onnx")
            ((encoder, decoder),) = open_sessions(files, "cpu", threads=1).replicas
            latents = DeviceGraph(encoder, ("mean", "log_variance"), None, cuda_graphs=True)
            replicas.append(Replica(latents, DeviceGraph(decoder, ("images",), None, cuda_graphs=True)))
        model.replicas = tuple(replicas)
        model.device = f"cuda:{','.join(map(str, range(gpus)))}"
        return model

    return load
