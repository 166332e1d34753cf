"""Encoders and decoders: the paper's MLP and a small convolutional pair for 28 to 128 pixels, grey or RGB.

They map tensors to tensors and know nothing of objectives. A decoder gives logits of pixels.
"""

import itertools

from torch import Tensor, nn

from training.config import NetworkConfig

__all__ = ["make_decoder", "make_encoder"]

_FINEST = 8
"""Convolutions halve the resolution until height and width are at most this."""
_HIDDEN = 256
"""Units of the layer between convolutions and latent."""

Shape = tuple[int, int, int]


def make_encoder(config: NetworkConfig, shape: Shape, outputs: int) -> nn.Sequential:
    """Builds the network from [N, C, H, W] pixels in [0, 1] to [N, outputs]; its last layer is linear.

    Args:
        config: Kind and sizes.
        shape: Height, width and channels of an image.
        outputs: Numbers per image.
    """
    height, width, channels = shape
    if config.encoder == "mlp":
        return nn.Sequential(nn.Flatten(), *_dense(height * width * channels, *config.hidden, outputs))
    widths = _stage_widths(config.width, shape)
    layers: list[nn.Module] = []
    for before, after in zip([channels, *widths], widths, strict=False):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        height, width = height // 2, width // 2
    layers += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, *_dense(widths[-1] * height * width, _HIDDEN, outputs))


def make_decoder(config: NetworkConfig, shape: Shape) -> nn.Module:
    """Builds the network from [N, latent_dim] to logits of [N, C, H, W] pixels.

    Args:
        config: Kind and sizes.
        shape: Height, width and channels of an image.
    """
    height, width, channels = shape
    if config.decoder == "mlp":
        layers = _dense(config.latent_dim, *config.decoder_hidden, channels * height * width)
        return nn.Sequential(*layers, nn.Unflatten(1, (channels, height, width)))
    widths = _stage_widths(config.width, shape)[::-1]
    scale = 2 ** len(widths)
    coarse = (widths[0], -(-height // scale), -(-width // scale))
    layers = [
        *_dense(config.latent_dim, _HIDDEN, coarse[0] * coarse[1] * coarse[2]),
        nn.ReLU(),
        nn.Unflatten(1, coarse),
    ]
    # the last doubling gives the pixels: another layer at full resolution would cost as much as all others together
    for before, after in itertools.pairwise([*widths, channels]):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], _Crop(height, width))


class _Crop(nn.Module):
    """Cuts the rows and columns by which doubling overshot a size that is no multiple of it."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        return images[..., : self.height, : self.width]


def _dense(*sizes: int) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    pairs = ((nn.Linear(before, after), nn.ReLU()) for before, after in itertools.pairwise(sizes))
    return list(itertools.chain.from_iterable(pairs))[:-1]


def _stage_widths(width: int, shape: Shape) -> list[int]:
    """Channels after each halving: doubling, at most four times the first."""
    largest = max(shape[:2])
    widths: list[int] = []
    while largest > _FINEST:
        widths.append(width * min(2 ** len(widths), 4))
        largest //= 2
    return widths
