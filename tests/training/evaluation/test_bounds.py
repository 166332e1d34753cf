"""The importance-weighted bound of a model is the ELBO for one sample, and tighter with every other."""

import numpy as np
import pytest
import torch

from training.build import build_model
from training.config import Config
from training.datasets.image_set import Source
from training.evaluation.bounds import importance_weighted_gain, mean_error
from training.generative import GenerativeModel
from training.health import held_out_passes
from training.overrides import with_overrides

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["objective.rho=per-dimension"],
        ["objective.posterior=structured"],
        ["objective.name=vae"],
        ["views.count=1"],
    ],
)
def test_one_sample_gives_the_elbo_and_more_samples_more(
    tiny_config: Config, blobs: Source, settings: list[str]
) -> None:
    config = with_overrides(tiny_config.model_dump(), ["objective.sigma_x=0.5", *settings])
    model = build_model(config, (28, 28, 1)).eval()
    assert isinstance(model, GenerativeModel)
    images = blobs.train.images
    passes = held_out_passes(model, images, config, CPU)
    elbo = mean_error(torch.cat([result.elbo.value for result in passes if result.elbo is not None]))
    one, few, many = (importance_weighted_gain(model, images, config, CPU, samples) for samples in (1, 4, 16))
    assert elbo.error is not None
    assert many.elbo.mean == pytest.approx(elbo.mean, abs=4 * elbo.error)
    assert one.gain.mean == pytest.approx(0, abs=1e-9)
    assert 0 < few.gain.mean < many.gain.mean
    assert many.gain.error is not None
    assert many.gain.error < elbo.error


def test_the_error_is_that_of_a_mean_and_one_value_has_none() -> None:
    found = mean_error(torch.tensor([1.0, 2.0, 4.0]))
    assert (found.mean, found.error) == pytest.approx((7 / 3, np.std([1, 2, 4], ddof=1) / 3**0.5))
    assert mean_error(torch.tensor([5.0])).error is None
