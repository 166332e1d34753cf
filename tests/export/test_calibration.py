"""Calibrated probabilities mean what they say; typicality ranks images as training would."""

import numpy as np
import pytest

from export.calibration import calibrate, held_out_views, typicality
from service.engine.manifest import EmbeddingSpec
from service.engine.results import Embeddings
from service.engine.similarity import log_likelihood_ratio, probability_same
from training.datasets.image_set import Source
from training.overrides import load_preset, with_overrides

SPEC = EmbeddingSpec(dim=4, sigma2=0.3, tau2=0.7)


def pairs_from_the_model(count: int, seed: int, scale: float = 1.0) -> tuple[Embeddings, Embeddings]:
    """Latents of two views of each image, exactly as the prior has them, or all too large by a factor."""
    random = np.random.default_rng(seed)
    content = SPEC.tau2**0.5 * random.normal(size=(count, 1, 4))  # type: ignore[operator]
    latents = scale * (content + SPEC.sigma2**0.5 * random.normal(size=(count, 2, 4)))  # type: ignore[operator]
    first, second = latents.astype(np.float32).transpose(1, 0, 2)
    return tuple(Embeddings(side, np.zeros_like(side)) for side in (first, second))  # type: ignore[return-value]


def test_a_model_that_is_right_needs_no_calibration() -> None:
    calibration = calibrate(*pairs_from_the_model(20_000, 0), SPEC, seed=0)
    assert calibration is not None
    assert calibration.slope == pytest.approx(1, abs=0.05)
    assert calibration.intercept == pytest.approx(0, abs=0.05)


def test_calibrated_probabilities_are_frequencies_even_when_the_model_is_wrong() -> None:
    calibration = calibrate(*pairs_from_the_model(20_000, 0, scale=1.5), SPEC, seed=0)
    assert calibration is not None
    spec = SPEC.model_copy(update={"calibration": calibration})
    left, right = pairs_from_the_model(20_000, 1, scale=1.5)
    wrong = Embeddings(np.roll(right.mean, 1, 0), right.variance)
    ratios = [log_likelihood_ratio(left, other, 0.3, 0.7, pairs=True) for other in (right, wrong)]
    probability = probability_same(np.concatenate(ratios), spec)
    same = np.repeat([1.0, 0.0], 20_000)
    for low in np.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        assert same[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.05)


def test_a_flat_prior_or_a_ratio_that_says_nothing_has_no_calibration() -> None:
    left, right = pairs_from_the_model(500, 0)
    assert calibrate(left, right, EmbeddingSpec(dim=4, sigma2=0.3, tau2=None), seed=0) is None
    one, other = (Embeddings(side.mean[:1], side.variance[:1]) for side in (left, right))
    assert calibrate(one, other, SPEC, seed=0) is None
    assert calibrate(left, Embeddings(-right.mean, right.variance), SPEC, seed=0) is None


def test_views_are_what_the_service_would_receive(sample: Source) -> None:
    config = with_overrides(load_preset("tiny"), ["views.count=1"])
    ((left, right),) = held_out_views(sample.test.images[:6], config)
    assert left.shape == right.shape == (6, 28, 28, 1)
    assert left.dtype == np.uint8
    assert not np.array_equal(left, right)
    ((again, _),) = held_out_views(sample.test.images[:6], config)
    assert np.array_equal(left, again)


def test_every_image_has_its_views_a_batch_at_a_time(sample: Source) -> None:
    still = with_overrides(load_preset("tiny"), ["views.crop_area=[1, 1]", "views.crop_aspect=[1, 1]", "views.flip=0"])
    images = sample.train.images[:600]
    left, right = (np.concatenate(side) for side in zip(*held_out_views(images, still), strict=True))
    assert np.array_equal(left, images)
    assert np.array_equal(right, images)
    assert max(len(first) for first, _ in held_out_views(images, still)) < 300


def test_typicality_falls_from_one_to_zero_as_the_error_grows() -> None:
    errors = np.random.default_rng(0).gamma(2, size=5_000)
    spec = typicality(errors)
    shares = spec.share_above(np.sort(errors).astype(np.float32))
    assert (np.diff(shares) <= 0).all()
    assert spec.share_above(np.float32([np.median(errors)]))[0] == pytest.approx(0.5, abs=0.01)
