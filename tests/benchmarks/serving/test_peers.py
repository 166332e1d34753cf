"""What the peers make of an image is what the service makes of it, so that only servers are compared."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving.peers.work import Work

from service.engine.bundle import read_bundle
from service.engine.images import DecodeLimits, decode_image


@pytest.mark.parametrize("is_scaled", [True, False])
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")])
def test_square_images_are_decoded_as_the_bundle_says(
    make_bundle: Callable[..., Path], make_image: Callable[..., bytes], kind: str, mode: str, is_scaled: bool
) -> None:
    bundle = make_bundle(height=32, width=32, colour_mode="RGB", scaled_jpeg=is_scaled)
    spec = read_bundle(bundle).manifest.input
    assert spec.scaled_jpeg == is_scaled
    image = make_image(kind, size=(256, 256), mode=mode)
    np.testing.assert_array_equal(Work(bundle).decode(image), decode_image(image, spec, DecodeLimits()))
