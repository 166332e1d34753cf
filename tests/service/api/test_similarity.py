import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.similarity import METRICS

MakeImage = Callable[..., bytes]


@pytest.fixture
def left(make_image: MakeImage) -> list[bytes]:
    return [make_image(seed=seed) for seed in range(2)]


@pytest.fixture
def right(make_image: MakeImage) -> list[bytes]:
    return [make_image("JPEG", size=(40, 40), seed=seed) for seed in range(3)]


def encoded(images: list[bytes]) -> list[Any]:
    return [base64.b64encode(image).decode() for image in images]


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for metric, values in wanted.items():
        np.testing.assert_allclose(found[metric], values, rtol=1e-5, atol=1e-6, err_msg=metric)


def test_json_and_multipart_give_the_matrix_of_the_engine_in_all_metrics(
    client: httpx.Client, left: list[bytes], right: list[bytes], tiny_bundle: Path
) -> None:
    with Engine.load(tiny_bundle) as engine:
        expected = engine.similarity(left, right, METRICS)
    answer = client.post("/similarity", json={"left": encoded(left), "right": encoded(right)})
    assert answer.headers["x-model"] == "tiny@1"
    assert_same(answer.json()["similarity"], expected)
    assert np.shape(answer.json()["similarity"]["cosine"]) == (2, 3)
    files = [("right", image) for image in right] + [("left", image) for image in left]
    assert_same(client.post("/similarity", files=files).json()["similarity"], expected)


def test_pairs_give_one_list_and_the_prior_moves_only_the_probability(
    client: httpx.Client, left: list[bytes], right: list[bytes], tiny_bundle: Path
) -> None:
    metrics = ["log_likelihood_ratio", "probability_same"]
    with Engine.load(tiny_bundle) as engine:
        expected = engine.similarity(left, right[:2], metrics, pairs=True, prior=0.01)
    body = {"left": encoded(left), "right": encoded(right[:2]), "pairs": True, "prior": 0.01, "metrics": metrics}
    assert_same(client.post("/similarity", json=body).json()["similarity"], expected)
    files = [("left", image) for image in left] + [("right", image) for image in right[:2]]
    query = {"pairs": "true", "prior": "0.01", "metrics": metrics}
    assert_same(client.post("/similarity", files=files, params=query).json()["similarity"], expected)
    form = {"pairs": "true", "prior": "0.01", "metrics": metrics}
    assert_same(client.post("/similarity", files=files, data=form).json()["similarity"], expected)


def test_ready_embeddings_mix_with_images_and_round_trip_through_embed(
    client: httpx.Client, left: list[bytes], right: list[bytes]
) -> None:
    ready = client.post("/embed", json={"images": encoded(right), "variance": True}).json()
    items = [
        {"embedding": mean, "variance": variance}
        for mean, variance in zip(ready["embeddings"], ready["variances"], strict=True)
    ]
    plain = client.post("/similarity", json={"left": encoded(left), "right": encoded(right)}).json()
    mixed = [items[0], encoded(right)[1], items[2]]
    for side in (items, mixed):
        answer = client.post("/similarity", json={"left": encoded(left), "right": side}).json()
        assert_same(answer["similarity"], plain["similarity"])


def test_without_right_the_left_items_are_compared_among_themselves_in_every_form(
    client: httpx.Client, left: list[bytes]
) -> None:
    expected = client.post("/similarity", json={"left": encoded(left), "right": encoded(left)}).json()["similarity"]
    assert_same(client.post("/similarity", json={"left": encoded(left)}).json()["similarity"], expected)
    files = [("left", image) for image in left]
    assert_same(client.post("/similarity", files=files).json()["similarity"], expected)
    alone = client.post("/similarity", content=left[0], params={"metrics": "cosine"}).json()["similarity"]
    np.testing.assert_allclose(alone["cosine"], [[1]], atol=1e-6)


def test_a_ratio_of_embeddings_without_variance_is_refused_and_distances_are_not(client: httpx.Client) -> None:
    item = {"embedding": [1, 2, 3, 4]}
    with_variance = item | {"variance": [0.1] * 4}
    refused = client.post("/similarity", json={"left": [with_variance], "right": [with_variance, item]})
    assert refused.status_code == 422
    assert (refused.json()["side"], refused.json()["index"]) == ("right", 1)
    body = {"left": [item], "right": [item], "metrics": ["cosine", "euclidean"]}
    answer = client.post("/similarity", json=body).json()["similarity"]
    assert_same(answer, {"cosine": [[1]], "euclidean": [[0]]})


def test_a_flat_prior_gives_distances_and_refuses_ratios(
    start: Callable[..., Any], make_bundle: Callable[..., Path], left: list[bytes]
) -> None:
    bundle = make_bundle(name="flat", embedding={"tau2": None, "calibration": None})
    client = start(models=bundle).client
    answer = client.post("/similarity", json={"left": encoded(left)})
    assert list(answer.json()["similarity"]) == ["cosine", "euclidean"]
    refused = client.post("/similarity", json={"left": encoded(left), "metrics": ["probability_same"]})
    assert refused.status_code == 422
    assert "flat" in refused.json()["detail"]
    assert client.post("/embed", content=left[0], params={"dtype": "int8"}).status_code == 400


def test_sides_that_do_not_fit_are_refused(client: httpx.Client, left: list[bytes], right: list[bytes]) -> None:
    unequal = client.post("/similarity", json={"left": encoded(left), "right": encoded(right), "pairs": True})
    assert unequal.status_code == 422
    short = client.post("/similarity", json={"left": [{"embedding": [1, 2, 3]}], "metrics": ["cosine"]})
    assert short.status_code == 422
    assert "4 numbers" in short.json()["detail"]


def test_a_bad_image_is_named_by_side_and_index(client: httpx.Client, left: list[bytes]) -> None:
    files = [("left", left[0]), ("right", left[0]), ("right", b"no image")]
    answer = client.post("/similarity", files=files)
    assert answer.status_code == 415
    assert (answer.json()["side"], answer.json()["index"]) == ("right", 1)


def test_a_metric_that_is_asked_for_a_thousand_times_is_not_computed_a_thousand_times(client: httpx.Client) -> None:
    answer = client.post("/similarity", json={"left": [], "metrics": ["cosine"] * 1000})
    assert answer.status_code == 400
    assert "metrics" in answer.json()["detail"]


def test_empty_sides_have_a_defined_answer(client: httpx.Client, left: list[bytes]) -> None:
    answer = client.post("/similarity", json={"left": encoded(left), "right": []}).json()["similarity"]
    assert answer["cosine"] == [[], []]
    assert client.post("/similarity", json={"left": []}).json()["similarity"]["euclidean"] == []
