"""Views are crops and mirror images of their image, drawn in batches exactly as one would draw them one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from training.config import ViewsConfig
from training.views import apply_views, axis_weights, crop_boxes, draw_views, make_views, shift_colours

STILL = ViewsConfig(crop_area=(1, 1), crop_aspect=(1, 1), flip=0)


def random_images(count: int = 8, channels: int = 1, size: int = 28) -> torch.Tensor:
    shape = (count, size, size, channels)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_with_every_change_off_a_view_is_its_image() -> None:
    images = random_images(channels=3)
    views = make_views(images, STILL, generator())
    expected = images.permute(0, 3, 1, 2).float()[:, None].expand(-1, 2, -1, -1, -1) / 255
    torch.testing.assert_close(views, expected)


def test_a_certain_flip_mirrors_left_and_right() -> None:
    images = random_images()
    views = make_views(images, STILL.model_copy(update={"flip": 1.0}), generator())
    torch.testing.assert_close(views[:, 0], images.permute(0, 3, 1, 2).flip(-1).float() / 255)


def test_crops_agree_with_grid_sampling() -> None:
    images = random_images(channels=3)
    config = ViewsConfig(count=1, flip=0)
    views = make_views(images, config, generator())[:, 0]
    top, left, height, width = crop_boxes(8, 1.0, config, generator()).unbind(1)
    theta = torch.zeros(8, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
    grid = functional.affine_grid(theta, [8, 3, 28, 28], align_corners=False)
    pixels = images.permute(0, 3, 1, 2).float() / 255
    expected = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(views, expected, rtol=0, atol=1e-5)


def test_a_crop_looks_like_the_crop_a_person_would_cut() -> None:
    """Pillow's crop and bilinear resize, which reads no pixel beyond the crop, differs only at the crop's border."""
    smooth = np.add.outer(np.arange(28), 3 * np.arange(28)).astype(np.uint8)
    rows = axis_weights(torch.tensor([7 / 28]), torch.tensor([14 / 28]), 28)[0]
    ours = (rows @ torch.from_numpy(smooth).float() @ rows.T).numpy()
    pillow = Image.fromarray(smooth).crop((7, 7, 21, 21)).resize((28, 28), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow, np.float32))[2:-2, 2:-2].max() < 1


@given(start=st.floats(0, 1), share=st.floats(0.01, 1), size=st.integers(1, 64))
def test_interpolation_weights_are_a_mean_of_at_most_two_pixels(start: float, share: float, size: int) -> None:
    weights = axis_weights(torch.tensor([start * (1 - share)]), torch.tensor([share]), size)
    assert weights.shape == (1, size, size)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(1, size))
    assert ((weights > 0).sum(2) <= 2).all()


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_crops_lie_inside_the_image_and_have_the_areas_asked_for(aspect: float) -> None:
    config = ViewsConfig(crop_area=(0.2, 0.6), crop_aspect=(0.9, 1.1))
    top, left, height, width = crop_boxes(4_000, aspect, config, generator()).unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 1 + 1e-6).all()
    assert (left + width <= 1 + 1e-6).all()
    area = height * width
    assert area.max() < 0.601
    assert area.mean() == pytest.approx(0.4, abs=0.06)


def test_crops_larger_than_the_image_shrink_it_to_a_random_place_inside() -> None:
    config = ViewsConfig(crop_area=(2.0, 4.0), crop_aspect=(0.9, 1.1), flip=0)
    top, left, height, width = crop_boxes(4_000, 1.0, config, generator()).unbind(1)
    for start, length in ((top, height), (left, width)):
        assert (start <= 0).all()
        assert (start + length >= 1 - 1e-6).all()
        assert length.max() <= 2
    image = torch.zeros(1, 28, 28, 1, dtype=torch.uint8)
    image[0, 4:24, 4:24] = 255
    views = make_views(image, config, generator())[0, :, 0]
    area = (20 / 28) ** 2
    assert all(area / 4 * 0.9 < view.mean() < area / 2 * 1.1 for view in views)
    assert all(view[0].max() == view[-1].max() == 0 for view in views)


def test_views_of_one_image_differ_and_the_same_draw_repeats() -> None:
    images = random_images()
    first, again = (make_views(images, ViewsConfig(), generator()) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first[:, 0], first[:, 1])


def test_colour_changes_stay_in_range_and_grey_is_grey() -> None:
    views = torch.rand(64, 3, 8, 8, generator=generator())
    config = ViewsConfig(brightness=0.5, contrast=0.5, saturation=0.5, greyscale=1.0)
    changed = shift_colours(views, draw_views(64, 1.0, config, generator()))
    assert changed.min() >= 0
    assert changed.max() <= 1
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    torch.testing.assert_close(shift_colours(views, draw_views(64, 1.0, ViewsConfig(), generator())), views)


def test_views_made_in_parts_are_the_views_made_at_once() -> None:
    images = torch.randint(0, 256, (6, 20, 20, 3), dtype=torch.uint8, generator=generator())
    config = ViewsConfig(count=3, brightness=0.4, greyscale=0.2)
    parameters = draw_views(18, 1.0, config, generator())
    parts = [apply_views(images[:2], parameters[:6]), apply_views(images[2:], parameters[6:])]
    torch.testing.assert_close(torch.cat(parts), make_views(images, config, generator()).flatten(0, 1), rtol=0, atol=0)


@pytest.mark.parametrize("ranges", [{"crop_area": (0.5, 0.2)}, {"crop_area": (0.0, 1.0)}, {"crop_aspect": (-1, 1)}])
def test_ranges_that_make_no_crop_are_refused(ranges: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="ascending order"):
        ViewsConfig.model_validate(ranges)
