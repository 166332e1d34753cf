"""`embed` of both clients gives what the service gives, in the order of the images, however they are given and cut."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from simvae_client import BadImageError, Client, FingerprintError, ProblemError, TooLargeError, UnauthorizedError
from simvae_client.npy import write_npy

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)


def told_by_service(address: str, contents: list[bytes], **params: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}/embed", files=[("image", content) for content in contents], params=params)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def test_a_path_its_bytes_and_pillows_image_are_the_same_image(
    address: str, ask: Ask, make_image: Callable[..., bytes], tmp_path: Path
) -> None:
    content = make_image("PNG", size=(60, 40), mode="RGB", seed=2)
    path = tmp_path / "image.png"
    path.write_bytes(content)
    picture = Image.open(path)
    given = [str(path), path, content, picture, np.asarray(picture)]
    found = ask(address, "embed", given)
    expected = told_by_service(address, [content])
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape == (5, expected["dim"])
    assert np.abs(found.vectors - expected["embeddings"]).max() < 1e-6
    assert (found.model.name, found.model.version, found.model.fingerprint) == ("tiny", 1, expected["fingerprint"])
    assert ask(address, "embed", path).vectors.shape == (1, expected["dim"])


def test_an_image_of_pillow_is_turned_as_its_file_is(address: str, ask: Ask, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    stream = io.BytesIO()
    grey = np.add.outer(np.arange(40), 3 * np.arange(60)).astype(np.uint8)
    Image.fromarray(grey).save(stream, "PNG", exif=exif)
    file, turned = stream.getvalue(), Image.open(io.BytesIO(stream.getvalue()))
    vectors = ask(address, "embed", [file, turned, grey]).vectors
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-6
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_a_mode_that_png_cannot_hold_is_sent_all_the_same(address: str, ask: Ask) -> None:
    inks = np.random.default_rng(1).integers(0, 256, (30, 30, 4), dtype=np.uint8)
    picture = Image.fromarray(inks, "CMYK")
    stream = io.BytesIO()
    picture.save(stream, "TIFF")
    vectors = ask(address, "embed", [picture, stream.getvalue()]).vectors
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-6


def test_a_batch_of_pixels_is_its_images_one_by_one(address: str, ask: Ask, pixels: NDArray[np.uint8]) -> None:
    batch = ask(address, "embed", pixels, settings={"batch_images": 7, "in_flight": 3})
    alone = [ask(address, "embed", [image]).vectors[0] for image in pixels[:3]]
    assert np.abs(batch.vectors[:3] - alone).max() < 1e-6
    for same in (pixels[..., 0], list(pixels), tuple(pixels[..., 0])):
        assert np.abs(ask(address, "embed", same).vectors - batch.vectors).max() < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "ubinary"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_options_give_what_the_service_says(
    address: str, ask: Ask, png: bytes, dtype: str, normalize: bool, variance: bool
) -> None:
    options = {"dtype": dtype, "normalize": normalize, "variance": variance}
    found = ask(address, "embed", [png, png], **options)
    expected = told_by_service(address, [png, png], **options)
    assert found.vectors.dtype == ("uint8" if dtype == "ubinary" else dtype)
    assert np.allclose(found.vectors, expected["embeddings"], atol=1e-3 if dtype == "float16" else 1e-6)
    assert found.scale == expected.get("scale")
    if variance:
        assert np.allclose(found.variances, expected["variances"], atol=1e-6)
    else:
        assert found.variances is None


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 28, 28, 1), np.uint8)], ids=["list", "array"])
@pytest.mark.parametrize("variance", [False, True])
def test_no_images_have_no_rows(address: str, ask: Ask, nothing: Any, variance: bool) -> None:
    found = ask(address, "embed", nothing, variance=variance)
    assert found.vectors.shape == (0, 4)
    assert found.model.reference == "tiny@1"


def test_a_bad_image_is_named_as_the_caller_knows_it(address: str, ask: Ask, png: bytes, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(png[:100])
    with pytest.raises(BadImageError, match=r"image 9: .*truncated") as caught:
        ask(address, "embed", [png] * 9 + [png[:100]], settings={"batch_images": 4})
    assert (caught.value.index, caught.value.path, caught.value.status) == (9, None, 422)
    with pytest.raises(BadImageError, match=r"bad\.png: .*truncated") as caught:
        ask(address, "embed", [png, bad])
    assert (caught.value.index, caught.value.path) == (1, str(bad))


def test_a_file_that_is_not_there_is_an_error_before_anything_else(address: str, ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        ask(address, "embed", [tmp_path / "gone.png"])


def test_a_service_that_takes_less_at_once_gets_less(
    start: Callable[..., str], ask: Ask, pixels: NDArray[np.uint8], address: str, make_image: Callable[..., bytes]
) -> None:
    small = start(max_items=3, max_body_bytes=4000)
    assert np.abs(ask(small, "embed", pixels).vectors - ask(address, "embed", pixels).vectors).max() < 1e-6
    large = make_image(size=(100, 100))
    with pytest.raises(TooLargeError, match=r"image 5: .*bytes") as caught:
        ask(small, "embed", [*pixels[:5], large])
    assert caught.value.index == 5


def test_pixels_of_another_size_are_refused_as_a_batch_and_resized_in_a_list(address: str, ask: Ask) -> None:
    others = np.zeros((2, 20, 30, 3), np.uint8)
    with pytest.raises(ProblemError, match=r"\[N, 28, 28, 1\]"):
        ask(address, "embed", others)
    assert len(ask(address, "embed", list(others))) == 2


def test_the_model_is_that_of_the_call_or_of_the_client(address: str, ask: Ask, png: bytes) -> None:
    assert ask(address, "embed", [png], settings={"model": "tiny-rgb"}).model.name == "tiny-rgb"
    assert ask(address, "embed", [png], settings={"model": "tiny-rgb"}, model="tiny@1").model.name == "tiny"


def test_a_fingerprint_that_is_pinned_lets_no_other_pass(address: str, ask: Ask, png: bytes) -> None:
    pinned = {"fingerprint": ask(address, "embed", [png]).model.fingerprint}
    assert len(ask(address, "embed", [png], settings=pinned)) == 1
    for options in ({}, {"variance": True}):
        with pytest.raises(FingerprintError, match="embed the images of one side again") as caught:
            ask(address, "embed", [png], settings=pinned, model="tiny-rgb", **options)
        assert caught.value.expected == pinned["fingerprint"] != caught.value.found
    with pytest.raises(FingerprintError):
        ask(address, "reconstruct", [png], settings=pinned, model="tiny-rgb")


def test_a_model_that_changes_between_two_requests_is_an_error(peer: Any, ask: Ask, png: bytes) -> None:
    for version in (1, 2):
        named = {"X_Model": f"photos@{version}", "X_Model_Fingerprint": f"f{version}"}
        peer.will_answer(content=write_npy(np.zeros((1, 4), np.float32)), **named)
    with pytest.raises(FingerprintError, match="f1"):
        ask(peer.url, "embed", [png, png], settings={"batch_images": 1})


def test_one_client_serves_several_threads(address: str, pixels: NDArray[np.uint8]) -> None:
    with Client(address, batch_images=3) as client, ThreadPoolExecutor(4) as pool:
        expected = client.embed(pixels).vectors
        for found in pool.map(client.embed, [pixels] * 8):
            assert np.abs(found.vectors - expected).max() < 1e-6


def test_a_key_opens_a_service_that_wants_one(start: Callable[..., str], ask: Ask, png: bytes) -> None:
    locked = start(api_key="secret")
    assert len(ask(locked, "embed", [png], settings={"api_key": "secret"})) == 1
    for settings in ({}, {"api_key": "wrong"}):
        with pytest.raises(UnauthorizedError):
            ask(locked, "embed", [png], settings=settings)
