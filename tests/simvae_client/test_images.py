"""Pixels survive the way into PNG, requests hold what was given, and what is no image is refused in words."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from simvae_client.batches import cut
from simvae_client.images import as_sequence, encoded, size_bytes
from simvae_client.npy import read_npy, write_npy

MIB = 1 << 20

side = st.integers(1, 9)
shapes = st.one_of(st.tuples(side, side), st.tuples(side, side, st.integers(1, 4)))


@given(hnp.arrays(np.uint8, shapes))
def test_pixels_are_encoded_without_loss(pixels: NDArray[np.uint8]) -> None:
    found = np.asarray(Image.open(io.BytesIO(encoded(pixels))))
    assert (found.reshape(pixels.shape) == pixels).all()


def test_pixels_that_do_not_lie_in_order_are_encoded_as_they_are_seen() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    for view in (pixels[::-1, ::2], pixels.transpose(1, 0, 2)):
        assert (np.asarray(Image.open(io.BytesIO(encoded(view)))) == view).all()
        assert (read_npy(write_npy(view)) == view).all()


@given(st.lists(st.integers(0, 6 * MIB), max_size=40), st.integers(1, 9))
def test_batches_hold_all_images_in_order_and_no_more_than_they_may(sizes: list[int], most_images: int) -> None:
    class Weighed(bytes):
        def __len__(self) -> int:
            return size_of[bytes(self)]

    contents = [Weighed(number.to_bytes(1)) for number in range(len(sizes))]
    size_of = {bytes([number]): size for number, size in enumerate(sizes)}
    batches = cut(contents, most_images)
    assert [image for batch in batches for image in batch.images] == contents
    assert [batch.start for batch in batches] == [0, *np.cumsum([len(batch) for batch in batches[:-1]])]
    for batch in batches:
        assert len(batch) <= most_images
        assert len(batch) == 1 or sum(map(size_bytes, batch.images)) <= 8 * MIB
    for batch, after in itertools.pairwise(batches):
        room = 8 * MIB - sum(map(size_bytes, batch.images))
        assert len(batch) == most_images or size_bytes(after.images[0]) > room


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.zeros((2, 28, 28), np.float32), r"uint8 pixels, \[N, H, W\].*float32 of shape \[2, 28, 28\]"),
        (np.zeros((28, 28), np.uint8), r"shape \[28, 28\]; for a lone image pass \[pixels\]"),
        ([np.zeros((28, 28), np.int64)], r"uint8 pixels of shape \[H, W\].*int64"),
        ([np.zeros((28, 28, 5), np.uint8)], r"1 to 4 channels, found uint8 of shape \[28, 28, 5\]"),
        ([np.zeros((0, 28), np.uint8)], r"shape \[0, 28\]"),
        ([b"image", 7], "a path, bytes, uint8 pixels or a Pillow image, found int"),
        (7, "an image or a list of them, found int"),
        ({"a.png"}, "an image or a list of them, found set"),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(images: Any, expected: str) -> None:
    with pytest.raises((ValueError, TypeError), match=expected):
        cut(as_sequence(images), 4)
