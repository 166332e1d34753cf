"""The likelihood ratio is that of the model, whatever route computes it; geometry is plain geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine import similarity
from service.engine.bundle import Calibration, EmbeddingSpec
from service.engine.errors import SimilarityError
from service.engine.results import Embeddings
from service.engine.similarity import METRICS, compare, cosine, euclidean, log_likelihood_ratio

DIM = 3
SIGMA2 = np.array([0.13, 0.5, 0.9])
TAU2 = np.array([0.87, 0.5, 0.3])
SPEC = EmbeddingSpec(dim=DIM, sigma2=0.13, tau2=0.87, calibration=Calibration(slope=0.7, intercept=-0.4))


def embeddings(count: int, seed: int = 0, *, width: float = 1.0) -> Embeddings:
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(count, DIM))
    variance = width * rng.uniform(0.01, 0.99, (count, DIM)) * (SIGMA2 + TAU2)
    return Embeddings(mean.astype(np.float32), variance.astype(np.float32))


def dense_ratio(m: NDArray[np.float64], v: NDArray[np.float64], sigma2: float, tau2: float) -> float:
    """One dimension of one pair, with 2 × 2 matrices as in the definition."""
    total = sigma2 + tau2
    same = np.array([[total, tau2], [tau2, total]])
    a = np.linalg.inv(same) - np.eye(2) / total
    inner = np.eye(2) + np.diag(v) @ a
    ratio = 0.5 * np.log(total**2 / np.linalg.det(same)) - 0.5 * np.log(np.linalg.det(inner))
    return float(ratio - 0.5 * m @ a @ np.linalg.inv(inner) @ m)


def test_the_ratio_is_that_of_the_dense_formula() -> None:
    left, right = embeddings(4, 1), embeddings(5, 2)
    expected = [
        [
            sum(
                dense_ratio(
                    np.array([left.mean[i, k], right.mean[j, k]], float),
                    np.array([left.variance[i, k], right.variance[j, k]], float),
                    SIGMA2[k],
                    TAU2[k],
                )
                for k in range(DIM)
            )
            for j in range(5)
        ]
        for i in range(4)
    ]
    np.testing.assert_allclose(log_likelihood_ratio(left, right, SIGMA2, TAU2), expected, rtol=1e-9)


def normal_log_density(x: NDArray[np.float64], variance: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return -0.5 * (np.log(2 * np.pi * variance) + x**2 / variance)


def plug_in(z1: NDArray[np.float64], z2: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(z₁, z₂ | same) − log p(z₁) − log p(z₂) in the rotated frame where the joint density factorises."""
    u, v = (z1 + z2) / np.sqrt(2), (z1 - z2) / np.sqrt(2)
    total = SIGMA2 + TAU2
    joint = normal_log_density(u, SIGMA2 + 2 * TAU2) + normal_log_density(v, SIGMA2)
    return (joint - normal_log_density(z1, total) - normal_log_density(z2, total)).sum(axis=-1)


def test_the_ratio_is_the_expectation_over_both_posteriors() -> None:
    left, right = embeddings(1, 3, width=0.4), embeddings(1, 4, width=0.4)
    rng = np.random.default_rng(5)
    z1, z2 = (side.mean + np.sqrt(side.variance) * rng.normal(size=(400_000, DIM)) for side in (left, right))
    ratios = np.exp(plug_in(z1, z2))
    error = ratios.std() / np.sqrt(len(ratios)) / ratios.mean()
    exact = log_likelihood_ratio(left, right, SIGMA2, TAU2)[0, 0]
    assert error < 0.02
    assert abs(np.log(ratios.mean()) - exact) < 4 * error


def test_known_latents_give_the_plug_in_ratio() -> None:
    left, right = embeddings(6, 6), embeddings(6, 7)
    for variance in (0.0, 1e-9):
        known = [Embeddings(side.mean, np.full_like(side.variance, variance)) for side in (left, right)]
        ratio = log_likelihood_ratio(*known, SIGMA2, TAU2, pairs=True)
        expected = plug_in(left.mean.astype(float), right.mean.astype(float))
        np.testing.assert_allclose(ratio, expected, rtol=1e-6, atol=1e-6)


def test_an_image_that_says_nothing_is_no_evidence_either_way() -> None:
    right = embeddings(5, 9)
    total = np.broadcast_to(SIGMA2 + TAU2, right.mean.shape)
    for width in (1.0, 100.0):  # a posterior wider than the prior says nothing either
        prior = Embeddings(np.zeros_like(right.mean), width * total)
        np.testing.assert_allclose(log_likelihood_ratio(prior, right, SIGMA2, TAU2), 0, atol=1e-12)


def test_under_the_model_the_expected_ratio_is_that_of_a_bayes_factor() -> None:
    rng = np.random.default_rng(10)
    total = np.sqrt(SIGMA2 + TAU2)
    pairs = [Embeddings((total * rng.normal(size=(200_000, DIM))), np.zeros((200_000, DIM))) for _ in range(2)]
    ratio = log_likelihood_ratio(*pairs, SIGMA2, TAU2, pairs=True)
    factors = np.exp(ratio)
    assert factors.mean() == pytest.approx(1, abs=5 * factors.std() / np.sqrt(len(factors)))


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_is_symmetric_and_pairs_are_the_diagonal(metric: str) -> None:
    left, right = embeddings(7, 11), embeddings(7, 12)
    forth = compare(left, right, SPEC, [metric])[metric]
    back = compare(right, left, SPEC, [metric])[metric]
    np.testing.assert_allclose(forth, back.T, rtol=1e-12)
    np.testing.assert_allclose(
        compare(left, right, SPEC, [metric], pairs=True)[metric], np.diag(forth), rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_of_rows_do_not_change_the_result(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = embeddings(11, 13), embeddings(5, 14)
    whole = compare(left, right, SPEC, [metric])[metric]
    for block in (1, 31, 47):
        monkeypatch.setattr(similarity, "_BLOCK", block)
        np.testing.assert_array_equal(compare(left, right, SPEC, [metric])[metric], whole)


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_no_embeddings_give_empty_tables(rows: int, columns: int) -> None:
    for table in compare(embeddings(rows), embeddings(columns), SPEC, METRICS).values():
        assert table.shape == (rows, columns)


def test_geometry_is_that_of_numpy_and_zero_is_defined() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]])
    np.testing.assert_allclose(cosine(a, b), [[1, 0, 0], [0, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(euclidean(a, b), [[5, 50**0.5, 5], [10, 5, 0]])
    assert cosine(np.full((1, 3), 1e30, np.float32), np.full((1, 3), -1e-30, np.float32)) == pytest.approx(-1)


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1 - 1e-6))
def test_the_probability_is_the_calibrated_sigmoid_and_the_prior_shifts_it(ratio: float, prior: float) -> None:
    found = similarity.probability_same(np.array(ratio), SPEC, prior)
    odds = 0.7 * ratio - 0.4 + np.log(prior) - np.log1p(-prior)
    assert found == pytest.approx(1 / (1 + np.exp(-odds)) if odds > -700 else 0.0, abs=1e-12)


def test_what_the_model_does_not_define_names_what_it_does() -> None:
    one = embeddings(1)
    flat = EmbeddingSpec(dim=DIM, sigma2=1.0, tau2=None)
    raw = EmbeddingSpec(dim=DIM, sigma2=0.13, tau2=0.87)
    with pytest.raises(SimilarityError, match=r"flat p\(y\) for this model; available are cosine, euclidean\."):
        compare(one, one, flat, ["cosine", "log_likelihood_ratio"])
    with pytest.raises(SimilarityError, match=r"without calibration .* available are .*log_likelihood_ratio\."):
        compare(one, one, raw, ["probability_same"])
    with pytest.raises(SimilarityError, match="euclid is unknown"):
        compare(one, one, SPEC, ["euclid"])
    with pytest.raises(SimilarityError, match="available are cosine and euclidean"):
        log_likelihood_ratio(one, one, 1.0, None)
    with pytest.raises(SimilarityError, match="no calibration"):
        similarity.probability_same(np.zeros(1), raw)
    assert set(compare(one, one, raw, METRICS[:3])) == set(METRICS[:3])


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, float("nan")])
def test_a_prior_is_a_probability_that_leaves_room_for_doubt(prior: float) -> None:
    with pytest.raises(SimilarityError, match="prior between 0 and 1"):
        compare(embeddings(1), embeddings(1), SPEC, ["probability_same"], prior=prior)


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        (np.zeros((2, DIM + 1)), np.zeros((2, DIM + 1)), r"of 3 finite numbers; found an array of shape \[2, 4\]"),
        (np.zeros(DIM), np.zeros(DIM), "3 finite numbers"),
        (np.full((2, DIM), np.nan), np.zeros((2, DIM)), "finite"),
        (np.zeros((2, DIM)), np.full((2, DIM), -1.0), "variances of at least 0"),
        (np.zeros((2, DIM)), np.zeros((1, DIM)), "variances of at least 0"),
    ],
)
def test_embeddings_of_another_model_are_refused(
    mean: NDArray[np.float64], variance: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(SimilarityError, match=message):
        compare(embeddings(2), Embeddings(mean, variance), SPEC, ["cosine"])


def test_pairs_need_partners() -> None:
    with pytest.raises(SimilarityError, match="found 2 and 3"):
        compare(embeddings(2), embeddings(3), SPEC, ["cosine"], pairs=True)
