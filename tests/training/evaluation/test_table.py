"""What is printed fits a terminal, says what is uncertain, and repeats every alarm."""

import dataclasses
import io

import pytest
from rich.console import Console

from training.evaluation.clustering import Clustering
from training.evaluation.results import Evaluation, Health, Likelihood, Representation
from training.evaluation.similarity import Similarity
from training.evaluation.style import StyleScore
from training.evaluation.table import print_evaluations

ROW = Representation(
    "latents",
    32,
    linear=0.8,
    knn_cosine=0.9,
    gmm=Clustering(0.6, 0.5, 0.4),
    style={"crop_x": StyleScore("r2", 0.25, 0.5), "factor:font": StyleScore("accuracy", 0.5, 0.75, 0.5)},
    squared_error=0.008,
)
HEALTH = Health(31, 20.0, 18.0, (1.0,) * 32, (0.87,), 0.1, 1.01, ())
SIMILARITY = Similarity(10_000, "log_likelihood_ratio", 0.2, 0.8, 0.1, 0.9, 3.5, 0.75, 0.5, 0.1, 0.2, ())
EVALUATION = Evaluation(
    "simvae",
    0,
    100,
    60_000,
    6_000,
    10_000,
    (ROW, *(dataclasses.replace(ROW, name=name) for name in ("features", "PCA", "raw pixels"))),
    Likelihood(784.9, 1.8, 790.1, 1.9, 64),
    HEALTH,
    SIMILARITY,
)


def printed(*evaluations: Evaluation) -> str:
    output = io.StringIO()
    print_evaluations(evaluations, Console(file=output, width=80))
    return output.getvalue()


def test_one_run_is_printed_with_the_errors_of_its_test_images() -> None:
    text = printed(EVALUATION)
    assert "0.8000 ±.0040" in text
    assert "ELBO 784.90 ±1.80, importance-weighted bound 790.10 ±1.90" in text
    assert "simvae-evaluation-4: fitted on 60,000 training images, settings chosen on 6,000" in text
    assert "font (50%)," in text
    assert "C_llr 3.50 bits, calibrated 0.75, least possible 0.50" in text
    assert "warning" not in text
    table = text.split("style:")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert not any("…" in line for line in table)


def test_what_was_not_measured_has_no_line() -> None:
    bare = dataclasses.replace(ROW, linear=None, gmm=None, style={}, squared_error=None)
    text = printed(dataclasses.replace(EVALUATION, representations=(bare,), likelihood=None, similarity=None))
    assert "kNN cosine" in text
    for word in ("linear", "GMM", "ELBO", "C_llr", "style", "None"):
        assert word not in text


def test_several_seeds_are_printed_as_mean_and_error_of_the_mean() -> None:
    other = dataclasses.replace(
        EVALUATION,
        seed=1,
        representations=tuple(dataclasses.replace(row, linear=0.82) for row in EVALUATION.representations),
    )
    text = printed(EVALUATION, other)
    assert "0.8100 ±.0100" in text
    assert "over 2 seeds" in text


def test_every_alarm_is_printed_once() -> None:
    alarmed = dataclasses.replace(EVALUATION, health=dataclasses.replace(HEALTH, alarms=("It has collapsed.",)))
    text = printed(alarmed, dataclasses.replace(alarmed, seed=1))
    assert text.count("warning: It has collapsed.") == 1


@pytest.mark.parametrize("similarity", [Similarity(10, "cosine", 0.2, 0.8, 0.2, 0.8)])
def test_a_model_without_ratios_is_printed_without_their_cost(similarity: Similarity) -> None:
    text = printed(dataclasses.replace(EVALUATION, similarity=similarity))
    assert "EER 0.200" in text
    assert "C_llr" not in text
