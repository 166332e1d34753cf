"""Views: J augmented versions of every image of a batch, made on the device in a few matrix products.

Crop, resize and mirror are one linear map per axis, so a view is `rows @ image @ columnsᵀ` for the whole batch;
there is no loop over images. All randomness comes from the generator that is passed in.
"""

import math

import torch
from torch import Tensor

from training.config import ViewsConfig

__all__ = ["axis_weights", "crop_boxes", "make_views", "shift_colours"]

_LUMA = (0.299, 0.587, 0.114)


def make_views(images: Tensor, config: ViewsConfig, generator: torch.Generator) -> Tensor:
    """Draws J views of each image.

    Args:
        images: uint8 pixels of shape [B, H, W, C].
        config: Which changes, and how many views J.
        generator: Source of randomness, on the images' device.

    Returns:
        float32 pixels in [0, 1] of shape [B, J, C, H, W].
    """
    batch, height, width, channels = images.shape
    count = batch * config.count
    top, left, crop_height, crop_width = crop_boxes(count, width / height, config, generator).unbind(1)
    mirrored = _uniform(count, generator) < config.flip
    rows = axis_weights(top, crop_height, height)
    columns = axis_weights(
        torch.where(mirrored, left + crop_width, left), torch.where(mirrored, -crop_width, crop_width), width
    )
    pixels = images.permute(0, 3, 1, 2).float() / 255
    source = pixels.repeat_interleave(config.count, 0)
    views = rows[:, None] @ source @ columns.transpose(1, 2)[:, None]
    views = shift_colours(views, config, generator)
    return views.reshape(batch, config.count, channels, height, width)


def crop_boxes(count: int, aspect: float, config: ViewsConfig, generator: torch.Generator) -> Tensor:
    """Draws crops: area uniform, log aspect uniform, place uniform among those that fit.

    A crop that would stick out on one axis is cut to the image there.

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
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    top = _uniform(count, generator) * (1 - height)
    left = _uniform(count, generator) * (1 - width)
    return torch.stack((top, left, height, width), 1)


def axis_weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bilinear interpolation of a crop, back to `size` pixels, along one axis, as matrices.

    Pixel centres are aligned (the half-pixel convention); beyond the image the border pixel continues. Crops are
    never larger than the image, so nothing is shrunk and no antialiasing is needed.

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


def shift_colours(views: Tensor, config: ViewsConfig, generator: torch.Generator) -> Tensor:
    """Changes brightness, contrast, saturation, and drops colour, each view by its own amount.

    Args:
        views: Pixels in [0, 1], shape [N, C, H, W].
        config: The largest relative changes, and the probability of grey.
        generator: Source of randomness.

    Returns:
        Pixels in [0, 1], same shape.
    """
    count, channels = views.shape[:2]
    if not (config.brightness or config.contrast or config.saturation or config.greyscale):
        return views
    if config.brightness:
        views = views * _factor(count, config.brightness, generator)
    if config.contrast:
        mean = views.mean((1, 2, 3), keepdim=True)
        views = mean + (views - mean) * _factor(count, config.contrast, generator)
    if channels == 3 and (config.saturation or config.greyscale):
        grey = (views * torch.tensor(_LUMA, device=views.device)[:, None, None]).sum(1, keepdim=True)
        colour = _factor(count, config.saturation, generator)
        dropped = _uniform(count, generator)[:, None, None, None] < config.greyscale
        views = grey + (views - grey) * colour.masked_fill(dropped, 0)
    return views.clamp(0, 1)


def _factor(count: int, strength: float, generator: torch.Generator) -> Tensor:
    factor = torch.empty(count, device=generator.device).uniform_(1 - strength, 1 + strength, generator=generator)
    return factor[:, None, None, None]


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, device=generator.device, generator=generator)
