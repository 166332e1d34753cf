"""Style probes recover what is there, report nothing that is not, and know how views were made."""

import numpy as np
import pytest
import torch

from training.config import ViewsConfig
from training.evaluation.style import factor_targets, style_scores, styled_views, view_factors
from training.views import ViewParameters

CPU = torch.device("cpu")


def test_a_planted_factor_is_recovered_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(size=(2_000, 6)).astype(np.float32)
    values = {
        "size": codes @ random.normal(size=6) + 4,
        "font": (codes[:, 1] > 0).astype(np.int64),
        "noise": random.normal(size=2_000),
    }
    train, test = ({name: part[half] for name, part in values.items()} for half in (slice(1_500), slice(1_500, None)))
    found = style_scores(codes[:1_500], codes[1_500:], factor_targets(train, test, "factor:"), CPU, 0)
    assert list(found) == ["factor:size", "factor:font", "factor:noise"]
    assert found["factor:size"].linear > 0.99
    assert found["factor:size"].mlp > 0.98
    assert found["factor:font"].measure == "accuracy"
    assert found["factor:font"].linear > 0.97
    assert found["factor:font"].chance == pytest.approx(0.5, abs=0.05)
    assert abs(found["factor:noise"].linear) < 0.03
    assert found["factor:noise"].mlp < 0.05
    assert found["factor:noise"].chance is None


def test_the_place_of_a_crop_is_where_it_lies_in_the_view() -> None:
    count, one = 2, torch.ones(2)
    box = {"top": 0.1 * one, "left": 0.2 * one, "height": 0.5 * one, "width": 0.4 * one}
    colours = {"brightness": one, "contrast": one, "saturation": one}
    parameters = ViewParameters(**box, **colours, flipped=torch.tensor([False, True]), recoloured=False)
    factors = view_factors(parameters)
    assert len(factors["flip"]) == count
    assert factors["crop_x"] == pytest.approx([0.4, 0.6])
    assert factors["crop_y"] == pytest.approx([0.35, 0.35])
    assert factors["log_area"] == pytest.approx(np.log([0.2, 0.2]))
    assert factors["log_aspect"] == pytest.approx(np.log([0.8, 0.8]))
    assert factors["flip"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (ViewsConfig(), ["crop_x", "crop_y", "log_area", "log_aspect", "flip"]),
        (ViewsConfig(flip=0, crop_area=(1, 1), crop_aspect=(1, 1)), []),
        (ViewsConfig(flip=0, crop_area=(1, 1), crop_aspect=(1, 1), contrast=0.3), ["contrast"]),
    ],
)
def test_what_does_not_vary_is_left_out(config: ViewsConfig, names: list[str]) -> None:
    images = np.zeros((64, 8, 8, 1), np.uint8)
    parts = [view_factors(styled_views(images, config, seed).parameters) for seed in (0, 1)]
    assert [target.name for target in factor_targets(*parts)] == names
    assert style_scores(np.zeros((64, 2), np.float32), np.zeros((64, 2), np.float32), [], CPU, 0) == {}


def test_the_crop_can_be_read_from_the_view_itself() -> None:
    ramp = np.linspace(0, 255, 16).astype(np.uint8)
    image = np.stack(np.meshgrid(ramp, ramp), -1)[..., [0, 1, 1]]  # red tells the column, green the row
    images = np.repeat(image[None], 1_000, 0)
    views = [styled_views(images, ViewsConfig(flip=0), seed) for seed in (0, 1)]
    codes = [part.embed(lambda pixels: pixels.mean((2, 3)), CPU) for part in views]
    targets = factor_targets(*(view_factors(part.parameters) for part in views))
    found = style_scores(*codes, targets, CPU, 0)
    assert found["crop_x"].linear > 0.99
    assert found["crop_y"].linear > 0.99
    assert found["log_aspect"].linear < 0.1
