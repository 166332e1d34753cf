"""Curves show what a run wrote, whatever the objective."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from training.report.curves import compare_curves, run_curves
from training.report.style import BLUE, INK, ORANGE, Picture


def rows(*values: dict[str, float]) -> list[dict[str, float]]:
    return [{"epoch": i, "step": i, "views": 100.0 * i, **value} for i, value in enumerate(values, 1)]


def lines(picture: Picture) -> list[tuple[str, list[float], list[float]]]:
    drawn = picture.figure.axes[0].get_lines()
    return [(to_hex(line.get_color()), *np.asarray(line.get_xydata()).T.tolist()) for line in drawn]


def test_training_and_held_out_values_stand_over_the_views_seen() -> None:
    (picture,) = run_curves(rows({"elbo": 1.0, "held_out_elbo": 2.0}, {"elbo": 3.0, "held_out_elbo": 4.0}))
    (_, x, training), (_, _, held_out) = lines(picture)
    assert (x, training, held_out) == ([100, 200], [1, 3], [2, 4])
    assert picture.alt == "ELBO, nats per view: training ends at 3; held out ends at 4."


def test_whatever_an_objective_reports_is_drawn_and_bookkeeping_is_not() -> None:
    written = {
        "loss": 1.0,
        "invariance": 0.5,
        "held_out_loss": 1.2,
        "learning_rate": 1e-3,
        "elapsed_s": 4.0,
        "alarms": 0.0,
    }
    names = [picture.name for picture in run_curves(rows(written, written))]
    assert names == ["curve-loss", "curve-invariance"]


def test_the_loss_is_not_drawn_beside_the_bound_nor_what_was_set_and_not_learned() -> None:
    first = {"loss": 1.0, "elbo": -1.0, "rho": 0.87, "sigma_x": 0.1}
    names = [picture.name for picture in run_curves(rows(first, {**first, "sigma_x": 0.2}))]
    assert names == ["curve-elbo", "curve-sigma-x"]


def test_values_that_are_missing_or_no_numbers_are_left_out() -> None:
    (picture,) = run_curves(rows({"kl": 1.0}, {"kl": math.nan}, {}, {"kl": 2.0}))
    assert lines(picture)[0][1:] == ([100, 400], [1, 2])
    assert run_curves([]) == []
    assert run_curves(rows({"kl": math.inf})) == []


@pytest.mark.parametrize(("first", "top"), [(50.0, False), (-1.0, True)])
def test_a_wild_beginning_leaves_the_frame_and_is_told_of(first: float, top: bool) -> None:
    values = [first, *(10 + (1 if top else -1) * i / 100 for i in range(40))]
    (picture,) = run_curves(rows(*({"virial_ratio": value} for value in values)))
    axes = picture.figure.axes[0]
    low, high = axes.get_ylim()
    assert not low <= first <= high
    assert low < min(values[4:]) <= max(values[4:]) < high
    assert [text.get_text() for text in axes.texts if text.get_text()] == [f"begins at {first:g}, outside"]


def test_runs_share_a_picture_and_held_out_views_are_preferred() -> None:
    one, other = rows({"elbo": 1.0, "held_out_elbo": 2.0, "loss": -1.0}), rows({"kl": 5.0})
    first, second, third = compare_curves(
        [("a", BLUE, [one]), ("b", ORANGE, [other]), ("c", INK, [rows({"loss": 3.0})])]
    )
    assert lines(first) == [(BLUE, [100], [2])]
    assert lines(second) == [(INK, [100], [3])]  # the loss of a run with a bound is not drawn
    assert lines(third) == [(ORANGE, [100], [5])]
    assert [text.get_text() for text in third.figure.axes[0].texts] == ["b"]


def test_seeds_are_drawn_with_their_mean_unless_they_were_stopped_at_different_times() -> None:
    short, long = rows({"kl": 1.0}), rows({"kl": 3.0}, {"kl": 4.0})
    (alike,) = compare_curves([("a", BLUE, [short, rows({"kl": 2.0})])])
    assert [y for _, _, y in lines(alike)] == [[1], [2], [1.5]]
    (stopped,) = compare_curves([("a", BLUE, [short, long])])
    assert [y for _, _, y in lines(stopped)] == [[1], [3, 4]]
