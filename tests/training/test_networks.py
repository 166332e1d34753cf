"""Every kind of network fits every shape the project promises, and none of their parameters is idle."""

import pytest
import torch

from training.build import build_model
from training.config import NetworkConfig
from training.networks import make_decoder, make_encoder
from training.overrides import load_preset, with_overrides


@pytest.mark.parametrize(("kind", "decoder"), [("conv", "conv"), ("residual", "conv"), ("mlp", "mlp")])
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (32, 32, 3), (45, 45, 1), (64, 64, 3), (128, 128, 3)])
def test_networks_fit_every_size_from_28_to_128(kind: str, decoder: str, shape: tuple[int, int, int]) -> None:
    config = NetworkConfig.model_validate(
        {"encoder": kind, "decoder": decoder, "width": 4, "latent_dim": 5, "hidden": [16], "decoder_hidden": [16]}
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
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    views = torch.rand(2, 2, shape[2], size, size, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # the first convolution of a residual block waits for the second, which starts at nothing
        optimiser.zero_grad()
        model(views, model.draw_noise(2, 2, torch.Generator().manual_seed(1))).loss.backward()
        optimiser.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_a_residual_block_starts_as_nothing_and_keeps_what_goes_in() -> None:
    config = NetworkConfig(encoder="residual", width=4, latent_dim=5)
    encoder = make_encoder(config, (28, 28, 1), 10)
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    blocks = [layer for layer in encoder if list(layer.children())]
    assert len(blocks) == 3
    for block in blocks:
        torch.nn.init.zeros_(block.second.bias)
    without = torch.nn.Sequential(*(layer for layer in encoder if layer not in blocks))
    torch.testing.assert_close(encoder(images), without(images))
    torch.nn.init.dirac_(blocks[0].second.weight)
    stages = list(encoder)[:3]
    values = torch.nn.Sequential(*stages[:2])(images)
    expected = (values + blocks[0].first(values).relu()).relu()
    torch.testing.assert_close(blocks[0](values), expected)


def test_a_view_is_encoded_alone() -> None:
    model = build_model(with_overrides(load_preset("tiny"), []), (28, 28, 1)).eval()
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    together = model.encode(images).mean
    alone = torch.cat([model.encode(image[None]).mean for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
