"""A claim is supported only by more than two standard errors, of every comparison, and never by one seed."""

from typing import Any

import pytest
from claims import together
from claims_table import style_score, verdict
from figures import ahead, difference, summarise

OTHERS = ("vae", "beta-vae", "cr-vae")


def runs(objective: str, *accuracies: float) -> list[dict[str, Any]]:
    style = {"size": {"measure": "r2", "mlp": 0.5}, "flip": {"measure": "accuracy", "mlp": 0.75, "chance": 0.5}}
    return [
        {
            "objective": objective,
            "seed": seed,
            "evaluation": {"representations": [{"knn_cosine": accuracy, "linear": 0.5, "style": style}]},
        }
        for seed, accuracy in enumerate(accuracies)
    ]


def groups(**accuracies: tuple[float, ...]) -> dict[str, list[dict[str, Any]]]:
    same = dict.fromkeys(OTHERS, (0.5, 0.5, 0.5))
    given = same | {name.replace("_", "-"): values for name, values in accuracies.items()}
    return {name: runs(name, *values) for name, values in given.items()}


@pytest.mark.parametrize(
    ("own", "best", "word"),
    [
        ((0.9, 0.9, 0.9), (0.8, 0.8, 0.8), "supported"),
        ((0.82, 0.9, 0.74), (0.8, 0.8, 0.8), "not supported"),
        ((0.7, 0.7, 0.7), (0.8, 0.8, 0.8), "contradicted"),
        ((0.9,), (0.8,), "not supported"),
    ],
)
def test_the_verdict_is_that_of_the_hardest_comparison(
    own: tuple[float, ...], best: tuple[float, ...], word: str
) -> None:
    assert verdict(groups(simvae=own, beta_vae=best), OTHERS, "kNN, cosine").startswith(f"**{word}**")


def test_the_error_of_a_difference_is_that_of_independent_means() -> None:
    one, other = summarise([0.2, 0.4]), summarise([0.1, 0.1, 0.1])
    assert (one.mean, one.error) == (pytest.approx(0.3), pytest.approx(0.1))
    gap = difference(one, other)
    assert (gap.mean, gap.error) == (pytest.approx(0.2), pytest.approx(0.1))
    assert not ahead(gap), "two standard errors are not more than two"


def test_style_counts_categories_from_chance() -> None:
    assert style_score(runs("simvae", 0.5)[0]) == pytest.approx(0.5)


def test_further_seeds_stand_beside_those_that_were_measured() -> None:
    before = [{"seed": 0, "objective": "vae", "views": 10, "score": 1}, {"seed": 0, "objective": "simvae", "views": 10}]
    found = [{"seed": 0, "objective": "vae", "views": 10, "score": 2}, {"seed": 1, "objective": "vae", "views": 10}]
    assert together(before, found) == [found[0], before[1], found[1]]


def test_seeds_of_another_budget_are_not_mixed_in() -> None:
    with pytest.raises(SystemExit, match=r"one budget"):
        together([{"seed": 0, "objective": "vae", "views": 10}], [{"seed": 1, "objective": "vae", "views": 20}])
