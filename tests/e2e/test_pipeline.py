"""From images to vectors over HTTP: what is served is what was exported is what torch computes, however it is asked."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.engine.engine import Engine
from service.engine.images import Pixels, encode_png
from service.engine.model import Model
from training.datasets.sources import open_source
from training.restore import encode_images, load_run
from training.run_directory import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Vectors = NDArray[np.float32]
NPY = "application/x-npy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Any]) -> Path:
    """`runs/sample` and `models/sample/1`, made by the commands of the README."""
    root = tmp_path_factory.mktemp("pipeline")
    settings = ["--set", "network.decoder=mlp", "--set", "network.decoder_hidden=[64]"]
    command("simvae-train", "fashion-mnist-sample", "--preset", "tiny", "--out", root / "runs" / "sample", *settings)
    command("simvae-evaluate", root / "runs" / "sample")
    precisions = ["--precision", "float16", "--precision", "int8"]
    done = command("simvae-export", root / "runs" / "sample", root / "models" / "sample", *precisions)
    assert [line.split(":")[0] for line in done.stderr.splitlines() if "times as fast" in line] == ["float16", "int8"]
    return root


@pytest.fixture(scope="module")
def client(folder: Path, serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    with serve(folder / "models") as running:
        yield running


@pytest.fixture(scope="module")
def images() -> Pixels:
    return open_source("fashion-mnist-sample").test.images[:64].copy()


@pytest.fixture(scope="module")
def torch_means(folder: Path, images: Pixels) -> Vectors:
    device = torch.device("cpu")
    return encode_images(load_run(RunDirectory(folder / "runs" / "sample"), device).model, images, device)


def vectors(response: httpx.Response) -> Vectors:
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == NPY:
        return np.load(io.BytesIO(response.content), allow_pickle=False)
    return np.array(response.json()["embeddings"], np.float32)


def raw(client: httpx.Client, images: Pixels) -> Vectors:
    answers = [
        client.post("/embed", content=encode_png(image), headers={"Content-Type": "image/png"}) for image in images
    ]
    return np.concatenate([vectors(answer) for answer in answers])


def form(client: httpx.Client, images: Pixels) -> Vectors:
    return vectors(client.post("/embed", files=[("file", encode_png(image)) for image in images]))


def in_json(client: httpx.Client, images: Pixels) -> Vectors:
    encoded = [base64.b64encode(encode_png(image)).decode() for image in images]
    return vectors(client.post("/embed", json={"images": encoded}))


def data_uri(client: httpx.Client, images: Pixels) -> Vectors:
    encoded = ["data:image/png;base64," + base64.b64encode(encode_png(image)).decode() for image in images]
    return vectors(client.post("/embed", json={"images": encoded}))


def npy(client: httpx.Client, images: Pixels) -> Vectors:
    body = io.BytesIO()
    np.save(body, images)
    return vectors(client.post("/embed", content=body.getvalue(), headers={"Content-Type": NPY, "Accept": NPY}))


@pytest.mark.parametrize("ask", [raw, form, in_json, data_uri, npy])
@pytest.mark.parametrize("batch", [1, 64])
def test_served_is_torch_in_every_request_form_alone_and_batched(
    client: httpx.Client, images: Pixels, torch_means: Vectors, ask: Callable[..., Vectors], batch: int
) -> None:
    found = np.concatenate([ask(client, images[start : start + batch]) for start in range(0, 64, batch)])
    assert found.shape == torch_means.shape
    assert np.abs(found - torch_means).max() < 1e-4


def test_the_engine_without_a_server_gives_the_same(folder: Path, images: Pixels, torch_means: Vectors) -> None:
    with Engine.load(folder / "models" / "sample" / "1") as engine:
        embeddings = engine.embed([encode_png(image) for image in images])
    assert np.abs(embeddings.mean - torch_means).max() < 1e-4


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_lower_precision_is_served_and_embedded_as_it_was_exported(
    folder: Path, images: Pixels, torch_means: Vectors, serve: Callable[..., Any], command: Callable[..., Any],
    tmp_path: Path, precision: str,
) -> None:  # fmt: skip
    bundle = folder / "models" / "sample" / "1"
    with serve(folder / "models", "--precision", precision) as client:
        answer = client.post("/embed", files=[("file", encode_png(image)) for image in images])
        card = client.get("/models/sample").json()
    exported = Model.load(bundle, device="cpu", precision=precision).encode(images).mean  # type: ignore[arg-type]
    assert np.abs(vectors(answer) - exported).max() < 1e-5
    assert 1e-6 < np.abs(exported - torch_means).max() <= card["manifest"]["encoders"][-1]["parity"]
    assert (answer.headers["X-Model-Precision"], card["precision"]) == (precision, precision)
    for number, image in enumerate(images[:5]):
        (tmp_path / f"{number}.png").write_bytes(encode_png(image))
    command("simvae-embed", tmp_path, tmp_path / "out.npy", "--model", bundle, "--precision", precision)
    assert np.abs(np.load(tmp_path / "out.npy") - exported[:5]).max() < 1e-5


def test_two_views_of_one_image_are_more_alike_than_two_images(client: httpx.Client, images: Pixels) -> None:
    moved = np.roll(images[:16], 1, axis=2)
    left, right = ([base64.b64encode(encode_png(image)).decode() for image in side] for side in (images[:16], moved))
    answer = client.post("/similarity", json={"left": left, "right": right})
    ratio = np.array(answer.json()["similarity"]["log_likelihood_ratio"])
    same = np.eye(16, dtype=bool)
    assert ratio[same].mean() > ratio[~same].mean() + 1


def test_a_folder_is_embedded_without_a_server(
    folder: Path, images: Pixels, torch_means: Vectors, tmp_path: Path, command: Callable[..., Any]
) -> None:
    for number, image in enumerate(images[:5]):
        (tmp_path / f"{number}.png").write_bytes(encode_png(image))
    command("simvae-embed", tmp_path, tmp_path / "out.npy", "--model", folder / "models" / "sample" / "1")
    assert np.abs(np.load(tmp_path / "out.npy") - torch_means[:5]).max() < 1e-4
