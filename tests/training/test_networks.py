"""Both kinds of network fit every shape the project promises, and none of their parameters is idle."""

import pytest
import torch

from training.build import build_model
from training.config import NetworkConfig
from training.networks import make_decoder, make_encoder
from training.overrides import load_preset, with_overrides


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (32, 32, 3), (45, 45, 1), (64, 64, 3), (128, 128, 3)])
def test_networks_fit_every_size_from_28_to_128(kind: str, shape: tuple[int, int, int]) -> None:
    config = NetworkConfig.model_validate(
        {"encoder": kind, "decoder": kind, "width": 4, "latent_dim": 5, "hidden": [16], "decoder_hidden": [16]}
    )
    height, width, channels = shape
    images = torch.rand(2, channels, height, width)
    assert make_encoder(config, shape, 10)(images).shape == (2, 10)
    assert make_decoder(config, shape)(torch.zeros(2, 5)).shape == images.shape


def test_the_default_mlp_is_the_papers() -> None:
    config = NetworkConfig(encoder="mlp", decoder="mlp", latent_dim=10)
    sizes = [
        tuple(layer.weight.shape)
        for network in (make_encoder(config, (28, 28, 1), 20), make_decoder(config, (28, 28, 1)))
        for layer in network
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [
        (2000, 784), (500, 2000), (500, 500), (20, 500), (500, 10), (500, 500), (2000, 500), (784, 2000),
    ]  # fmt: skip


@pytest.mark.parametrize("preset", ["tiny", "demo", "fashion", "folder"])
def test_every_parameter_of_a_preset_learns(preset: str) -> None:
    config = with_overrides(load_preset(preset), [])
    size = config.images.size if preset == "folder" else 28
    shape = (size, size, 3 if preset == "folder" else 1)
    model = build_model(config, shape)
    views = torch.rand(2, 2, shape[2], size, size, generator=torch.Generator().manual_seed(0))
    model(views, model.draw_noise(2, 2, torch.Generator().manual_seed(1))).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_view_is_encoded_alone() -> None:
    model = build_model(with_overrides(load_preset("tiny"), []), (28, 28, 1)).eval()
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    together = model.encode(images).mean
    alone = torch.cat([model.encode(image[None]).mean for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
