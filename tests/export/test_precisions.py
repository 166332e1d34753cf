"""An encoder of lower precision is that, except where float32 is worth more, and always comes out the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from export.graphs import OPSET, EncoderGraph, write_encoder
from export.parity import open_graph, open_unfused, torch_outputs
from export.precisions import float16_graph, write_int8
from training.build import build_model
from training.datasets.image_set import Source
from training.generative import GenerativeModel
from training.overrides import load_preset, with_overrides


@pytest.fixture(params=["network.encoder=conv", "network.encoder=mlp"])
def model(request: pytest.FixtureRequest) -> GenerativeModel:
    settings = [request.param, "network.hidden=[48,32]", "objective.posterior=structured"]
    model = build_model(with_overrides(load_preset("tiny"), settings), (28, 28, 1)).eval()
    assert isinstance(model, GenerativeModel)
    return model


def weights(path: Path, types: set[int]) -> dict[str, np.ndarray]:
    initializers = onnx.load(path).graph.initializer
    return {each.name: numpy_helper.to_array(each) for each in initializers if each.data_type in types}


def ports(path: Path) -> list[tuple[str, int]]:
    graph = onnx.load(path).graph
    return [(port.name, port.type.tensor_type.elem_type) for port in (*graph.input, *graph.output)]


PORTS = [("images", TensorProto.UINT8), ("mean", TensorProto.FLOAT), ("log_variance", TensorProto.FLOAT)]


def test_float16_is_half_of_every_layer_but_the_last_and_leaves_the_model_alone(
    model: GenerativeModel, sample: Source, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = float16_graph(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    write_encoder(graph, model.shape, tmp_path / "half.onnx")
    assert ports(tmp_path / "half.onnx") == PORTS
    outputs = 2 * model.latent_dim
    half = weights(tmp_path / "half.onnx", {TensorProto.FLOAT16})
    assert sum(each.size for each in half.values()) == sum(
        each.numel() for layer in list(model.encoder)[:-1] for each in layer.parameters()
    )
    assert any(each.shape[:1] == (outputs,) for each in weights(tmp_path / "half.onnx", {TensorProto.FLOAT}).values())
    images = sample.test.images[:64].copy()
    expected = torch_outputs(EncoderGraph(model), images)
    for found in (torch_outputs(graph, images), open_graph(tmp_path / "half.onnx")(images)):
        assert 0 < np.abs(found[0] - expected[0]).max() < 1e-2


def test_int8_has_small_integer_weights_by_channel_but_in_its_first_convolution_and_last_layer(
    model: GenerativeModel, sample: Source, tmp_path: Path
) -> None:
    write_encoder(EncoderGraph(model), model.shape, tmp_path / "whole.onnx")
    write_int8(tmp_path / "whole.onnx", sample.train.images[:256], tmp_path / "int8.onnx")
    assert {file.name for file in tmp_path.iterdir()} == {"whole.onnx", "int8.onnx"}
    assert ports(tmp_path / "int8.onnx") == PORTS
    graph = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [entry.version for entry in graph.opset_import if not entry.domain] == [OPSET]
    kernels = {
        name: each for name, each in weights(tmp_path / "int8.onnx", {TensorProto.INT8}).items() if each.ndim > 1
    }
    layers = [layer.weight for layer in model.encoder if hasattr(layer, "weight")]
    kept = [layers[-1]] if layers[0].ndim == 2 else [layers[0], layers[-1]]
    assert sorted(each.size for each in kernels.values()) == sorted(
        layer.numel() for layer in layers if all(layer is not other for other in kept)
    )
    assert all(np.abs(each.astype(int)).max() == 64 for each in kernels.values())
    scales = [each for name, each in weights(tmp_path / "int8.onnx", {TensorProto.FLOAT}).items() if "_scale" in name]
    assert {each.shape[0] for each in kernels.values()} <= {each.size for each in scales}


def test_int8_is_the_same_file_every_time_and_the_same_vectors_with_integers_or_without(
    model: GenerativeModel, sample: Source, tmp_path: Path
) -> None:
    write_encoder(EncoderGraph(model), model.shape, tmp_path / "whole.onnx")
    for name in ("first", "second"):
        write_int8(tmp_path / "whole.onnx", sample.train.images[:256], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    images = sample.test.images[:64].copy()
    fused, unfused = open_graph(tmp_path / "first")(images), open_unfused(tmp_path / "first")(images)
    for a, b, whole in zip(fused, unfused, open_graph(tmp_path / "whole.onnx")(images), strict=True):
        rounding = np.sqrt(np.square(a - whole).mean())
        assert 0 < rounding < 0.1
        assert np.sqrt(np.square(a - b).mean()) < rounding / 4
