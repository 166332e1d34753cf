"""Views: J augmented versions of every image of a batch, made on the device in a few matrix products.

Crop, resize and mirror are one linear map per axis, so a view is `rows @ image @ columnsᵀ` for the whole batch;
there is no loop over images. All randomness comes from the generator that is passed in.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from training.config import ViewsConfig

__all__ = [
    "ViewParameters",
    "apply_views",
    "axis_weights",
    "crop_boxes",
    "draw_views",
    "make_views",
    "shift_colours",
]

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ViewParameters:
    """What makes each of N views out of its image; every tensor has shape [N].

    Attributes:
        top: Upper edge of the crop, as a share of the image's height.
        left: Left edge, as a share of the width.
        height: Of the crop, as a share of the image's height.
        width: Of the crop, as a share of the image's width.
        flipped: Whether the crop is mirrored.
        brightness: Factor on the pixels; 1 changes nothing.
        contrast: Factor on their distance from the view's mean; 1 changes nothing.
        saturation: Factor on their distance from grey, 0 where colour is dropped; 1 changes nothing.
        recoloured: Whether any of the three can differ from 1.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flipped: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    recoloured: bool

    def __getitem__(self, part: slice) -> "ViewParameters":
        """Those of some of the views."""
        tensors: dict[str, Any] = {name: value[part] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def __len__(self) -> int:
        """N."""
        return len(self.top)


def make_views(images: Tensor, config: ViewsConfig, generator: torch.Generator) -> Tensor:
    """Draws J views of each image and makes them.

    Args:
        images: uint8 pixels of shape [B, H, W, C].
        config: Which changes, and how many views J.
        generator: Source of randomness, on the images' device.

    Returns:
        float32 pixels in [0, 1] of shape [B, J, C, H, W].
    """
    batch, height, width, channels = images.shape
    parameters = draw_views(batch * config.count, width / height, config, generator)
    return apply_views(images, parameters).reshape(batch, config.count, channels, height, width)


def draw_views(count: int, aspect: float, config: ViewsConfig, generator: torch.Generator) -> ViewParameters:
    """Draws what shall be done, without any image.

    Args:
        count: How many views.
        aspect: Width over height of the images.
        config: Which changes, and how large.
        generator: Source of randomness; the same numbers are drawn from it for the same count and configuration.
    """
    top, left, height, width = crop_boxes(count, aspect, config, generator).unbind(1)
    flipped = _uniform(count, generator) < config.flip
    brightness, contrast, saturation = (
        _factor(count, strength, generator) for strength in (config.brightness, config.contrast, config.saturation)
    )
    dropped = _uniform(count, generator) < config.greyscale
    saturation = saturation.masked_fill(dropped, 0)
    recoloured = any((config.brightness, config.contrast, config.saturation, config.greyscale))
    return ViewParameters(top, left, height, width, flipped, brightness, contrast, saturation, recoloured)


def apply_views(images: Tensor, parameters: ViewParameters) -> Tensor:
    """Makes views.

    Args:
        images: uint8 pixels of shape [B, H, W, C].
        parameters: Of N views, N a multiple of B; the views of one image stand side by side.

    Returns:
        float32 pixels in [0, 1] of shape [N, C, H, W].
    """
    batch, height, width, _ = images.shape
    left, length, mirrored = parameters.left, parameters.width, parameters.flipped
    rows = axis_weights(parameters.top, parameters.height, height)
    columns = axis_weights(torch.where(mirrored, left + length, left), torch.where(mirrored, -length, length), width)
    pixels = images.permute(0, 3, 1, 2).float() / 255
    source = pixels.repeat_interleave(len(parameters) // batch, 0)
    views = rows[:, None] @ source @ columns.transpose(1, 2)[:, None]
    return shift_colours(views, parameters) if parameters.recoloured else views


def crop_boxes(count: int, aspect: float, config: ViewsConfig, generator: torch.Generator) -> Tensor:
    """Draws crops: area uniform, log aspect uniform, place uniform among those that fit.

    A crop that would stick out on one axis is cut to the image there; where crops may be larger than the image, to a
    square of the largest area.

    Args:
        count: How many.
        aspect: Width over height of the image.
        config: Ranges of area and aspect.
        generator: Source of randomness.

    Returns:
        Top, left, height, width as shares of the image, shape [count, 4].
    """
    area = torch.empty(count, device=generator.device).uniform_(*config.crop_area, generator=generator)
    low, high = (math.log(value) for value in config.crop_aspect)
    ratio = torch.empty(count, device=generator.device).uniform_(low, high, generator=generator).exp() / aspect
    longest = max(1.0, config.crop_area[1] ** 0.5)
    width = (area * ratio).sqrt().clamp(max=longest)
    height = (area / ratio).sqrt().clamp(max=longest)
    top = _uniform(count, generator) * (1 - height)
    left = _uniform(count, generator) * (1 - width)
    return torch.stack((top, left, height, width), 1)


def axis_weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bilinear interpolation of a crop, back to `size` pixels, along one axis, as matrices.

    Pixel centres are aligned (the half-pixel convention); beyond the image the border pixel continues. There is no
    antialiasing: crops are smaller than the image, or at most twice as long.

    Args:
        start: Where each crop begins, as a share of the axis, shape [N].
        length: Its length, likewise; a negative one reads backwards, which mirrors the image.
        size: Pixels of the axis.

    Returns:
        Rows of weights that sum to 1, shape [N, size, size]: output pixel × input pixel.
    """
    steps = torch.arange(size, device=start.device, dtype=start.dtype)
    centres = start[:, None] * size + (steps + 0.5) * length[:, None] - 0.5
    distance = centres.clamp(0, size - 1)[:, :, None] - steps
    return distance.abs_().neg_().add_(1).clamp_(min=0)


def shift_colours(views: Tensor, parameters: ViewParameters) -> Tensor:
    """Changes brightness, contrast and saturation, each view by its own factors.

    Args:
        views: Pixels in [0, 1], shape [N, C, H, W].
        parameters: Of the N views.

    Returns:
        Pixels in [0, 1], same shape.
    """
    brightness, contrast, saturation = (
        factor[:, None, None, None] for factor in (parameters.brightness, parameters.contrast, parameters.saturation)
    )
    views = views * brightness
    mean = views.mean((1, 2, 3), keepdim=True)
    views = mean + (views - mean) * contrast
    if views.shape[1] == 3:
        grey = (views * torch.tensor(_LUMA, device=views.device)[:, None, None]).sum(1, keepdim=True)
        views = grey + (views - grey) * saturation
    return views.clamp(0, 1)


def _factor(count: int, strength: float, generator: torch.Generator) -> Tensor:
    return torch.empty(count, device=generator.device).uniform_(1 - strength, 1 + strength, generator=generator)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, device=generator.device, generator=generator)
