"""Measures of scores against slow references, and against what must be true of them."""

import numpy as np
import pytest

from training.evaluation.verification import (
    area_under_curve,
    cllr,
    equal_error_rate,
    fit_line,
    min_cllr,
    reliability,
)

RANDOM = np.random.default_rng(0)
SAME, DIFFERENT = RANDOM.normal(1, 1, 300), RANDOM.normal(-1, 1.5, 200)


def test_the_area_is_the_share_of_pairs_of_pairs_in_the_right_order() -> None:
    same, different = SAME.round(1), DIFFERENT.round(1)  # so that there are ties
    gaps = same[:, None] - different
    assert area_under_curve(same, different) == pytest.approx(((gaps > 0) + 0.5 * (gaps == 0)).mean())


def test_the_equal_error_rate_lies_where_the_two_rates_cross() -> None:
    thresholds = np.linspace(-6, 6, 20_001)
    missed = (SAME[None] < thresholds[:, None]).mean(1)
    accepted = (DIFFERENT[None] >= thresholds[:, None]).mean(1)
    crossing = np.abs(missed - accepted).argmin()
    found = equal_error_rate(SAME, DIFFERENT)
    assert found == pytest.approx((missed[crossing] + accepted[crossing]) / 2, abs=1 / 200)


@pytest.mark.parametrize(
    ("same", "different", "rate"),
    [([2, 3], [0, 1], 0), ([0, 1], [2, 3], 1), ([1, 1], [1, 1], 0.5), ([0, 1], [0, 1], 0.5), ([1], [0], 0)],
)
def test_the_equal_error_rate_of_worked_cases(same: list[float], different: list[float], rate: float) -> None:
    assert equal_error_rate(np.array(same, float), np.array(different, float)) == pytest.approx(rate)


def test_errors_and_areas_do_not_heed_the_scale_of_scores() -> None:
    for measure in (equal_error_rate, area_under_curve, min_cllr):
        assert measure(SAME, DIFFERENT) == pytest.approx(measure(np.exp(SAME), np.exp(DIFFERENT)))


def test_the_cost_is_zero_for_certainty_one_for_silence_and_large_for_confident_errors() -> None:
    sure = np.full(5, 700.0)
    assert cllr(sure, -sure) == pytest.approx(0)
    assert cllr(0 * sure, 0 * sure) == pytest.approx(1)
    assert cllr(-sure, sure) == pytest.approx(700 / np.log(2))


def test_the_cost_agrees_with_its_definition() -> None:
    expected = np.mean(np.log2(1 + np.exp(-SAME))) / 2 + np.mean(np.log2(1 + np.exp(DIFFERENT))) / 2
    assert cllr(SAME, DIFFERENT) == pytest.approx(expected)


def test_the_least_cost_agrees_with_pool_adjacent_violators_done_by_hand() -> None:
    blocks = [[1 / len(SAME), 0.0] if same else [0.0, 1 / len(DIFFERENT)] for same in _in_order()]
    pooled: list[list[float]] = []
    for block in blocks:
        pooled.append(block)
        while len(pooled) > 1 and pooled[-2][0] * sum(pooled[-1]) >= pooled[-1][0] * sum(pooled[-2]):
            last = pooled.pop()
            pooled[-1] = [pooled[-1][0] + last[0], pooled[-1][1] + last[1]]
    expected = sum(weight * np.log2(sum(block) / weight) for block in pooled for weight in block if weight) / 2
    assert min_cllr(SAME, DIFFERENT) == pytest.approx(expected)


def _in_order() -> list[bool]:
    ranked = sorted([(score, True) for score in SAME] + [(score, False) for score in DIFFERENT])
    return [same for _, same in ranked]


def test_a_line_calibrates_what_a_line_spoiled_whatever_its_scale() -> None:
    ratios = RANDOM.normal(2, 2, 20_000), RANDOM.normal(-2, 2, 10_000)  # LLRs of themselves: variance = 2 · mean
    spoiled = tuple(1e-4 * part - 5 for part in ratios)
    line = fit_line(*spoiled)
    assert line(spoiled[0]) == pytest.approx(ratios[0], abs=0.25)
    assert cllr(line(spoiled[0]), line(spoiled[1])) == pytest.approx(cllr(*ratios), abs=1e-3)
    assert min_cllr(*ratios) < cllr(*ratios) < cllr(*(part * 10 for part in ratios))


def test_promises_that_are_kept_lie_on_the_diagonal_and_exaggerated_ones_do_not() -> None:
    ratios = RANDOM.normal(2, 2, 50_000), RANDOM.normal(-2, 2, 50_000)
    kept = reliability(*ratios)
    assert sum(part.count for part in kept) == 100_000
    assert max(abs(part.predicted - part.observed) for part in kept) < 0.02
    exaggerated = reliability(*(part * 3 for part in ratios))
    assert max(abs(part.predicted - part.observed) for part in exaggerated) > 0.1
