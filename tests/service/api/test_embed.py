import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.engine import Engine
from service.engine.images import DecodeLimits, decode_image

MakeImage = Callable[..., bytes]
SCALAR = {"float32": "<f4", "float16": "<f2", "int8": "i1", "ubinary": "u1"}


@pytest.fixture
def expected(images: list[bytes], tiny_bundle: Path) -> NDArray[np.float32]:
    with Engine.load(tiny_bundle) as engine:
        return engine.embed(images).mean


def encoded(images: list[bytes]) -> list[str]:
    return [base64.b64encode(image).decode() for image in images]


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_the_four_request_forms_and_the_library_give_the_same_vectors(
    client: httpx.Client, images: list[bytes], expected: NDArray[np.float32], tiny_bundle: Path
) -> None:
    with Engine.load(tiny_bundle) as engine:
        pixels = np.stack([decode_image(image, engine.manifest.input, DecodeLimits()) for image in images])
    json_form = client.post("/embed", json={"images": encoded(images)}).json()
    uris = [f"data:image/png;base64,{text}" for text in encoded(images)]
    answers = {
        "base64": json_form["embeddings"],
        "data URI": client.post("/embed", json={"images": uris}).json()["embeddings"],
        "multipart": client.post("/embed", files=[("photo", image) for image in images]).json()["embeddings"],
        "raw": [client.post("/embed", content=image).json()["embeddings"][0] for image in images],
        "image/*": [
            client.post("/embed", content=image, headers={"Content-Type": "image/anything"}).json()["embeddings"][0]
            for image in images
        ],
        "npy": client.post("/embed", content=npy(pixels), headers={"Content-Type": "application/x-npy"}).json()[
            "embeddings"
        ],
        "npy, sniffed, grey without channel": client.post("/embed", content=npy(pixels[..., 0])).json()["embeddings"],
    }
    for form, vectors in answers.items():
        np.testing.assert_allclose(vectors, expected, atol=1e-6, err_msg=form)
    manifest = client.get("/models/tiny").json()
    assert {key: json_form[key] for key in ("model", "version", "fingerprint", "dim", "errors")} == {
        "model": "tiny",
        "version": 1,
        "fingerprint": manifest["fingerprint"],
        "dim": 4,
        "errors": [],
    }


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/x-www-form-urlencoded", None])
def test_a_body_without_a_useful_content_type_is_recognised_by_its_first_bytes(
    content_type: str | None, client: httpx.Client, images: list[bytes], expected: NDArray[np.float32]
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    for body in (images[0], b' {"images": ["' + base64.b64encode(images[0]) + b'"]}'):
        answer = client.post("/embed", content=body, headers=headers)
        np.testing.assert_allclose(answer.json()["embeddings"], expected[:1], atol=1e-6)


def test_every_answer_names_its_model_and_its_time(client: httpx.Client, images: list[bytes]) -> None:
    for accept in ("application/json", "application/x-npy"):
        answer = client.post("/embed", content=images[0], headers={"Accept": accept})
        assert answer.headers["content-type"] == accept
        assert answer.headers["x-model"] == "tiny@1"
        assert answer.headers["x-model-fingerprint"] == client.get("/models/tiny").json()["fingerprint"]
        stages = [stage.split(";dur=") for stage in answer.headers["server-timing"].split(", ")]
        assert [name for name, _ in stages] == ["decode", "queue", "inference"]
        assert all(float(milliseconds) >= 0 for _, milliseconds in stages)


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("normalize", ["true", "false"])
def test_float_base64_and_npy_hold_the_same_numbers_in_every_dtype(
    dtype: str, normalize: str, client: httpx.Client, images: list[bytes]
) -> None:
    files = [("file", image) for image in images]
    options = {"dtype": dtype, "normalize": normalize}
    plain = client.post("/embed", files=files, params=options).json()
    packed = client.post("/embed", files=files, params=options | {"encoding": "base64"}).json()
    binary = client.post("/embed", files=files, params=options, headers={"Accept": "application/x-npy"})
    array = np.load(io.BytesIO(binary.content))
    assert array.dtype == np.dtype(SCALAR[dtype])
    np.testing.assert_array_equal(array, np.array(plain["embeddings"], array.dtype))
    for text, row in zip(packed["embeddings"], array, strict=True):
        assert base64.b64decode(text) == row.tobytes()
    assert ("scale" in plain) == (dtype == "int8")
    if dtype == "int8":
        assert float(binary.headers["x-embedding-scale"]) == plain["scale"]


def test_variances_are_those_of_the_posterior_whatever_the_embedding_becomes(
    client: httpx.Client, images: list[bytes], tiny_bundle: Path
) -> None:
    with Engine.load(tiny_bundle) as engine:
        variance = engine.embed(images).variance
    body = {"images": encoded(images), "variance": True, "normalize": True, "dtype": "int8"}
    np.testing.assert_allclose(client.post("/embed", json=body).json()["variances"], variance, rtol=1e-5)
    texts = client.post("/embed", json=body | {"encoding": "base64"}).json()["variances"]
    rows = [np.frombuffer(base64.b64decode(text), "<f4") for text in texts]
    np.testing.assert_allclose(rows, variance, rtol=1e-5)


def test_options_mean_the_same_as_json_query_and_form_fields(client: httpx.Client, images: list[bytes]) -> None:
    options = {"normalize": True, "model": "tiny@1"}
    one = client.post("/embed", json={"images": encoded(images[:1])} | options).json()
    two = client.post("/embed", content=images[0], params=options).json()
    three = client.post("/embed", files={"x": images[0]}, data={"normalize": "true", "model": "tiny"}).json()
    np.testing.assert_allclose(np.linalg.norm(one["embeddings"]), 1, atol=1e-6)
    np.testing.assert_allclose(one["embeddings"], two["embeddings"], atol=1e-6)
    np.testing.assert_allclose(one["embeddings"], three["embeddings"], atol=1e-6)


def test_a_bad_image_among_good_ones_fails_with_its_index_or_is_skipped_alone(
    client: httpx.Client, images: list[bytes], expected: NDArray[np.float32]
) -> None:
    texts = encoded([images[0], images[1][:200], images[2], b"no image"])
    failed = client.post("/embed", json={"images": texts})
    assert (failed.status_code, failed.json()["index"]) == (422, 1)
    skipped = client.post("/embed", json={"images": texts, "on_error": "skip", "variance": True}).json()
    assert [row is None for row in skipped["embeddings"]] == [False, True, False, True]
    assert [row is None for row in skipped["variances"]] == [False, True, False, True]
    np.testing.assert_allclose(skipped["embeddings"][::2], expected[::2], atol=1e-6)
    assert [error["index"] for error in skipped["errors"]] == [1, 3]
    assert "truncated or corrupt" in skipped["errors"][0]["detail"]


@pytest.mark.parametrize("option", [{"on_error": "skip"}, {"variance": "true"}, {"encoding": "base64"}])
def test_npy_refuses_what_an_array_cannot_hold(
    option: dict[str, str], client: httpx.Client, images: list[bytes]
) -> None:
    answer = client.post("/embed", content=images[0], params=option, headers={"Accept": "application/x-npy"})
    assert answer.status_code == 400
    assert next(iter(option)) in answer.json()["detail"]


def test_no_images_give_no_embeddings(client: httpx.Client) -> None:
    answer = client.post("/embed", json={"images": [], "variance": True}).json()
    assert (answer["embeddings"], answer["variances"], answer["errors"]) == ([], [], [])
    binary = client.post("/embed", json={"images": []}, headers={"Accept": "application/x-npy"})
    assert np.load(io.BytesIO(binary.content)).shape == (0, 4)
    empty = npy(np.zeros((0, 28, 28, 1), np.uint8))
    assert client.post("/embed", content=empty).json()["embeddings"] == []


def test_alone_and_among_many_an_image_has_the_same_embedding(client: httpx.Client, make_image: MakeImage) -> None:
    many = [make_image(seed=seed) for seed in range(100)]
    together = client.post("/embed", json={"images": encoded(many)}).json()["embeddings"]
    alone = [client.post("/embed", content=image).json()["embeddings"][0] for image in many[::10]]
    np.testing.assert_allclose(together[::10], alone, atol=1e-6)


def test_64_clients_at_once_each_get_their_own_answers(
    client: httpx.Client, make_image: MakeImage, tiny_bundle: Path
) -> None:
    many = [make_image(seed=seed) for seed in range(64)]
    with Engine.load(tiny_bundle) as engine:
        expected = engine.embed(many).mean

    def ask(number: int) -> list[list[list[float]]]:
        shifted = many[number:] + many[:number]
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            bodies = [{"images": encoded(shifted[:count])} for count in (1, 3, 7)]
            return [own.post("/embed", json=body).json()["embeddings"] for body in bodies]

    with ThreadPoolExecutor(64) as pool:
        for number, answers in enumerate(pool.map(ask, range(64))):
            shifted = np.roll(expected, -number, axis=0)
            for count, answer in zip((1, 3, 7), answers, strict=True):
                np.testing.assert_allclose(answer, shifted[:count], atol=1e-6)


def test_other_models_answer_by_name(client: httpx.Client, images: list[bytes], tiny_rgb_bundle: Path) -> None:
    with Engine.load(tiny_rgb_bundle) as engine:
        expected = engine.embed(images).mean
    answer = client.post("/embed", files=[("x", image) for image in images], params={"model": "tiny-rgb"})
    assert answer.headers["x-model"] == "tiny-rgb@1"
    np.testing.assert_allclose(answer.json()["embeddings"], expected, atol=1e-6)
