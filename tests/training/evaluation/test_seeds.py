"""Only runs that differ in their seeds are averaged, and the error is that of a mean."""

import numpy as np
import pytest

from service.engine.images import InputSpec
from training.config import Config
from training.evaluation.seeds import over_images, over_seeds, refuse_unlike
from training.overrides import with_overrides
from training.run_directory import RunRecord


def record(config: Config, **changes: object) -> RunRecord:
    values = {"source": "fashion-mnist", "input": InputSpec(height=28, width=28, colour_mode="L"), "images": 9}
    plain = {"preset": "tiny", "code_version": "1", "command": "simvae-train", "created": "2026-01-01T00:00:00Z"}
    return RunRecord(**{**values, **plain, "config": config, **changes})


def seeded(seed: int, *settings: str) -> Config:
    return with_overrides({"epochs": 1}, [f"seed={seed}", *settings])


def test_runs_of_different_seeds_may_be_averaged_whenever_they_were_made() -> None:
    refuse_unlike([record(seeded(0)), record(seeded(1), created="2027-01-01T00:00:00Z", command="again", preset="x")])


def test_the_same_seed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="different seeds, found seeds 3, 3"):
        refuse_unlike([record(seeded(3)), record(seeded(3))])


@pytest.mark.parametrize(
    ("other", "key"),
    [
        (record(seeded(1, "objective.rho=0.5")), "objective.rho = 0.87 with seed 0 and 0.5 with seed 1"),
        (record(seeded(1, "views.count=4")), "views.count = 2"),
        (record(seeded(1), source="mnist"), 'source = "fashion-mnist"'),
        (record(seeded(1), images=8), "images = 9"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused(other: RunRecord, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        refuse_unlike([record(seeded(0)), other])


def test_errors_are_those_of_a_share_and_of_a_mean() -> None:
    assert over_images(0.8, 10_000).error == pytest.approx(0.004)
    found = over_seeds([1.0, 2.0, 4.0])
    assert found.value == pytest.approx(7 / 3)
    assert found.error == pytest.approx(np.std([1, 2, 4], ddof=1) / 3**0.5)
