import base64
import io
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.engine.engine import Engine

MakeImage = Callable[..., bytes]


@pytest.fixture
def images(make_image: MakeImage) -> list[bytes]:
    return [make_image(seed=1), make_image("JPEG", size=(60, 40), mode="RGB", seed=2)]


def pixels(png: bytes) -> list[list[int]]:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return np.asarray(image).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("bundle", ["tiny", "tiny-rgb"])
def test_json_gives_the_pixels_and_the_numbers_of_the_engine(
    bundle: str, client: httpx.Client, images: list[bytes], tiny_models: Path
) -> None:
    with Engine.load(tiny_models / bundle / "1") as engine:
        expected = engine.reconstruct(images)
    answer = client.post("/reconstruct", files=[("x", image) for image in images], params={"model": bundle})
    assert answer.headers["x-model"] == f"{bundle}@1"
    assert answer.json()["errors"] == []
    for found, wanted in zip(answer.json()["reconstructions"], expected, strict=True):
        assert pixels(base64.b64decode(found["image"])) == np.squeeze(wanted.pixels).tolist()
        assert found["squared_error"] == pytest.approx(wanted.squared_error, rel=1e-5)
        assert found["typicality"] == pytest.approx(wanted.typicality, abs=1e-5)


def test_one_image_can_be_had_as_a_png_with_the_same_pixels(client: httpx.Client, images: list[bytes]) -> None:
    png = client.post("/reconstruct", content=images[0], headers={"Accept": "image/png"})
    (plain,) = client.post("/reconstruct", content=images[0]).json()["reconstructions"]
    assert png.headers["content-type"] == "image/png"
    assert png.headers["x-model"] == "tiny@1"
    assert pixels(png.content) == pixels(base64.b64decode(plain["image"]))
    assert float(png.headers["x-squared-error"]) == pytest.approx(plain["squared_error"])
    assert float(png.headers["x-typicality"]) == pytest.approx(plain["typicality"])


def test_many_images_are_json_if_that_is_acceptable_and_406_if_not(client: httpx.Client, images: list[bytes]) -> None:
    files = [("x", image) for image in images]
    either = client.post("/reconstruct", files=files, headers={"Accept": "image/png, */*;q=0.1"})
    assert either.headers["content-type"] == "application/json"
    only_png = client.post("/reconstruct", files=files, headers={"Accept": "image/png"})
    assert only_png.status_code == 406
    assert "2 images" in only_png.json()["detail"]


def test_a_bad_image_is_skipped_in_json_and_always_fails_a_png(client: httpx.Client, images: list[bytes]) -> None:
    files = [("x", image) for image in (b"no image", images[0])]
    answer = client.post("/reconstruct", files=files, params={"on_error": "skip"}).json()
    assert [entry is None for entry in answer["reconstructions"]] == [True, False]
    assert [error["index"] for error in answer["errors"]] == [0]
    assert client.post("/reconstruct", files=files).status_code == 415
    png = client.post("/reconstruct", content=b"no image", params={"on_error": "skip"}, headers={"Accept": "image/png"})
    assert png.status_code == 415


def test_no_images_give_no_reconstructions(client: httpx.Client) -> None:
    assert client.post("/reconstruct", json={"images": []}).json()["reconstructions"] == []
