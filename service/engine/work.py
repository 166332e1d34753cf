"""What a caller gives the engine, as work for its runtime: images to be decoded, or latents, which need no decoding."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.engine.bundle import Manifest
from service.engine.images import InputSpec
from service.engine.inputs import ImageInput, is_small, read_image, size_bytes
from service.engine.results import Floats
from service.engine.runtime import Runtime, Work
from service.engine.tasks import Task

__all__ = ["work_of"]


def work_of(items: Sequence[Any], task: Task, manifest: Manifest, runtime: Runtime) -> list[Work]:
    """Makes work of items.

    Args:
        items: In order: images, or for `decode` latents, float32 of shape [D] each.
        task: What is to be done with them.
        manifest: Of the model.
        runtime: Its limits hold.

    Raises:
        ValueError: Not a list, not an image, or not a latent of the model; for latents the message names the index.
    """
    if isinstance(items, bytes | str | Path):
        raise ValueError(f"Expected a list of images, found one {type(items).__name__}; put it in a list.")  # noqa: TRY004
    if task == "decode":
        return [_latent_work(index, latent, manifest.embedding.dim) for index, latent in enumerate(items)]
    return _image_works(items, manifest.input, runtime)


def _latent_work(index: int, latent: Floats, dim: int) -> Work:
    if latent.dtype != np.float32 or latent.shape != (dim,):
        found = f"{latent.dtype} of shape {list(latent.shape)}"
        raise ValueError(f"Latent {index}: expected float32 of shape [{dim}], found {found}.")
    if not np.isfinite(latent).all():
        raise ValueError(f"Latent {index}: expected finite numbers, found one that is not.")
    return Work(latent.nbytes, None, payload=latent)


def _image_works(images: Sequence[ImageInput], spec: InputSpec, runtime: Runtime) -> list[Work]:
    shape, fits = spec.shape, spec.height * spec.width <= runtime.limits.max_pixels
    works: list[Work] = []
    for image in images:
        if fits and isinstance(image, np.ndarray) and image.shape == shape and image.dtype == np.uint8:
            works.append(Work(image.nbytes, None, payload=image))
        else:
            decode = functools.partial(read_image, image, spec, runtime.limits, runtime.max_bytes)
            works.append(Work(size_bytes(image), decode, is_small(image)))
    return works
