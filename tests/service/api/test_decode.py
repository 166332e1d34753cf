"""Latents over HTTP: the pixels of the engine in every form, and a clear refusal of what is no latent of the model."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.engine.engine import Engine

ROOT = Path(__file__).parents[3]
LATENTS = [[0.5, 0.0, -1.0, 2.0], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]]


def pixels(png: bytes | str) -> Any:
    data = base64.b64decode(png) if isinstance(png, str) else png
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image).tolist()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("bundle", ["tiny", "tiny-rgb"])
def test_every_form_gives_the_pixels_of_the_engine(bundle: str, client: httpx.Client, tiny_models: Path) -> None:
    latents = np.array(LATENTS, np.float32)
    with Engine.load(tiny_models / bundle / "1") as engine:
        expected = engine.decode(latents)
    body, params = npy(latents), {"model": bundle}
    from_json = client.post("/decode", json={"latents": LATENTS} | params)
    assert from_json.headers["x-model"] == f"{bundle}@1"
    assert from_json.json()["fingerprint"] == from_json.headers["x-model-fingerprint"]
    assert [pixels(image) for image in from_json.json()["images"]] == [np.squeeze(each).tolist() for each in expected]
    for headers in ({"Content-Type": "application/x-npy"}, {}):
        assert client.post("/decode", content=body, params=params, headers=headers).json() == from_json.json()
    answer = client.post("/decode", content=body, params=params, headers={"Accept": "application/x-npy"})
    assert answer.headers["content-type"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content)), expected)


def test_what_embed_gives_is_decoded_to_what_reconstruct_gives(client: httpx.Client, images: list[bytes]) -> None:
    files = [("image", image) for image in images]
    embeddings = client.post("/embed", files=files).json()["embeddings"]
    decoded = client.post("/decode", json={"latents": embeddings}).json()["images"]
    seen = client.post("/reconstruct", files=files).json()["reconstructions"]
    assert [pixels(image) for image in decoded] == [pixels(each["image"]) for each in seen]


def test_one_latent_can_be_had_as_a_png_and_several_cannot(client: httpx.Client) -> None:
    png = client.post("/decode", json={"latents": LATENTS[:1]}, headers={"Accept": "image/png"})
    (plain,) = client.post("/decode", json={"latents": LATENTS[:1]}).json()["images"]
    assert png.headers["content-type"] == "image/png"
    assert png.headers["x-model"] == "tiny@1"
    assert pixels(png.content) == pixels(plain)
    either = client.post("/decode", json={"latents": LATENTS}, headers={"Accept": "image/png, */*;q=0.1"})
    assert either.headers["content-type"] == "application/json"
    only = client.post("/decode", json={"latents": LATENTS}, headers={"Accept": "image/png"})
    assert only.status_code == 406
    assert "3 latents" in only.json()["detail"]


def test_no_latents_give_no_images(client: httpx.Client) -> None:
    assert client.post("/decode", json={"latents": []}).json()["images"] == []
    answer = client.post("/decode", json={"latents": []}, headers={"Accept": "application/x-npy"})
    assert np.load(io.BytesIO(answer.content)).shape == (0, 28, 28, 1)


@pytest.mark.parametrize(
    ("body", "status", "index", "text"),
    [
        (b'{"latents": [[1, 2, 3, 4], [1, 2, 3]]}', 422, 1, "4 numbers, the model's dimension; found [3]"),
        (b'{"latents": [[1, 2, 3, 4], [1, 2, 3, 1e39]]}', 400, 1, "range of float32"),
        (b'{"latents": [[1, 2, 3, null]]}', 400, 0, "list of numbers"),
        (b'{"latents": [1, 2, 3, 4]}', 400, 0, "list of numbers"),
        (b'{"latents": "AAAA"}', 400, None, "latents: expected a list; found a string"),
        (b'{"images": []}', 400, None, "Expected a list 'latents'"),
        (b'{"latents": [], "normalize": true}', 400, None, "Unknown field 'normalize'"),
        (b'{"latents": [[1, 2, 3, NaN]]}', 400, None, "not JSON"),
        (b"", 400, None, "not JSON"),
        (npy(np.array([[1, 2, 3, np.inf]], np.float32)), 400, 0, "range of float32"),
        (npy(np.zeros((2, 5), np.float32)), 422, 0, "4 numbers, the model's dimension; found [5]"),
        (npy(np.zeros(4, np.float32)), 422, None, "shape [N, D]; found [4]"),
        (npy(np.zeros((1, 4))), 422, None, "dtype float32; found float64"),
    ],
)
def test_what_is_no_latent_of_the_model_is_refused_in_a_sentence_that_says_why(
    body: bytes, status: int, index: int | None, text: str, client: httpx.Client
) -> None:
    answer = client.post("/decode", content=body)
    problem = answer.json()
    assert (answer.status_code, problem.get("index")) == (status, index), problem
    assert text in problem["detail"]
    assert "side" not in problem


def test_an_image_is_no_form_of_latents(client: httpx.Client, png: bytes) -> None:
    for request in ({"content": png, "headers": {"Content-Type": "image/png"}}, {"files": {"f": png}}):
        answer = client.post("/decode", **request)
        assert answer.status_code == 415
        assert "application/x-npy" in answer.json()["detail"]


def test_it_is_held_to_the_limits_of_all_routes(start: Callable[..., Any]) -> None:
    running = start(max_items=2, queue_items=4, max_body_bytes=1000)
    many = running.client.post("/decode", json={"latents": LATENTS})
    assert (many.status_code, many.json()["type"]) == (413, "urn:simvae:problem:too-many-items")
    batch = running.client.post("/decode", content=npy(np.zeros((3, 4), np.float32)))
    assert batch.json()["type"] == "urn:simvae:problem:too-many-items"
    assert running.client.post("/decode", content=b" " * 1001).status_code == 413
    with running.occupied(4):
        assert running.client.post("/decode", json={"latents": LATENTS[:1]}).status_code == 429
    late = running.client.post("/decode", json={"latents": LATENTS[:1]}, headers={"X-Request-Timeout": "nan"})
    assert late.status_code == 400


def test_it_waits_in_the_queue_and_is_counted_like_all_others(start: Callable[..., Any]) -> None:
    running = start()
    for params in ({}, {"priority": "bulk"}):
        assert running.client.post("/decode", json={"latents": LATENTS}, params=params).status_code == 200
    assert running.metric("simvae_requests_total", route="/decode", code="200") == 2
    assert running.metric("simvae_bulk_requests_total", route="/decode", code="200") == 1
    assert running.metric("simvae_items_total") == 6


def test_the_documented_example_works_with_the_model_that_is_shipped(start: Callable[..., Any]) -> None:
    client = start(models=ROOT / "models/fashion/1").client
    content = client.get("/openapi.json").json()["paths"]["/decode"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-npy"}
    assert client.post("/decode", json=content["application/json"]["example"]).status_code == 200
