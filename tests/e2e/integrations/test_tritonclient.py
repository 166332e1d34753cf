"""Triton's own client, `tritonclient[http]`, against the shipped model: what users of KServe and Triton have."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.engine.images import Pixels, encode_png
from training.datasets.sources import open_source

PAGE = Path(__file__).parents[3] / "docs" / "integrations.md"
MODELS = Path(__file__).parents[3] / "models"
DIM = 64


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    with serve(MODELS) as client:
        yield client


@pytest.fixture
def client(server: httpx.Client) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{server.base_url.port}") as client:
        yield client


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return open_source("fashion-mnist-sample").test.images[:32].copy()


@pytest.fixture(scope="module")
def files(pixels: Pixels) -> NDArray[Any]:
    """The same images as PNG."""
    return np.array([encode_png(image) for image in pixels], object)


@pytest.fixture(scope="module")
def embedded(server: httpx.Client, files: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What `POST /embed` says of them."""
    parts = [("images", ("image.png", file, "image/png")) for file in files]
    content = server.post("/embed", files=parts, params={"variance": True}).raise_for_status().json()
    return {name: np.array(content[f"{name}s"], np.float32) for name in ("embedding", "variance")}


def tensor(name: str, values: NDArray[Any], *, binary: bool = True) -> InferInput:
    made = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return made.set_data_from_numpy(values, binary_data=binary)


def assert_same(result: Any, expected: dict[str, NDArray[Any]]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(result.as_numpy(name), values, rtol=1e-4, atol=1e-5)


def test_the_client_finds_the_server_its_models_and_their_tensors(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    names = [entry["name"] for entry in client.get_model_repository_index()]
    assert names == ["fashion", "fashion_tensor", "fashion_decoder"]
    assert all(client.is_model_ready(name) and client.is_model_ready(name, "1") for name in names)
    assert not client.is_model_ready("fashion", "9")
    assert client.get_model_metadata("fashion")["outputs"][0]["shape"] == [-1, DIM]
    assert client.get_model_config("fashion_tensor", "1")["input"][0]["dims"] == [28, 28, 1]


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_images_in_binary_packed_or_not_give_the_embeddings_of_the_native_api(
    client: InferenceServerClient, files: NDArray[Any], embedded: Any, packing: str | None
) -> None:
    result = client.infer(
        "fashion",
        [tensor("image", files)],
        request_id="mine",
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    assert_same(result, embedded)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["parameters"]["fingerprint"]


def test_pixels_in_binary_and_in_json_give_the_same(
    client: InferenceServerClient, pixels: Pixels, embedded: Any
) -> None:
    for binary in (True, False):
        outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("variance", "embedding")]
        result = client.infer("fashion_tensor", [tensor("pixels", pixels, binary=binary)], "1", outputs=outputs)
        assert_same(result, embedded)


def test_images_with_the_axis_that_the_metadata_shows_are_taken(
    client: InferenceServerClient, files: NDArray[Any], embedded: Any
) -> None:
    assert client.get_model_metadata("fashion")["inputs"][0]["shape"] == [-1, 1]
    assert_same(client.infer("fashion", [tensor("image", files.reshape(-1, 1))]), embedded)


def test_an_embedding_goes_through_the_decoder_to_the_reconstruction(
    client: InferenceServerClient, server: httpx.Client, embedded: Any
) -> None:
    latents = embedded["embedding"]
    result = client.infer("fashion_decoder", [tensor("latent", latents)])
    expected = np.array(result.as_numpy("pixels"))
    assert expected.shape == (32, 28, 28, 1)
    png = server.post("/decode", json={"latents": latents[:1].tolist()}, headers={"Accept": "image/png"}).content
    assert png == encode_png(expected[0])


def test_requests_in_flight_at_once_are_answered_each_with_its_own(
    server: httpx.Client, pixels: Pixels, embedded: Any
) -> None:
    with InferenceServerClient(f"127.0.0.1:{server.base_url.port}", concurrency=4) as client:
        asked = [client.async_infer("fashion_tensor", [tensor("pixels", image[None])]) for image in pixels]
        for index, one in enumerate(asked):
            assert_same(one.get_result(), {name: values[index : index + 1] for name, values in embedded.items()})


def test_the_client_for_asyncio_gives_the_same(server: httpx.Client, files: NDArray[Any], embedded: Any) -> None:
    async def ask() -> tuple[Any, Any, Any]:
        async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{server.base_url.port}") as client:
            plain = await client.infer("fashion", [tensor("image", files)], priority=2, timeout=20_000_000)
            packed = await client.infer(
                "fashion",
                [tensor("image", files)],
                request_compression_algorithm="gzip",
                response_compression_algorithm="gzip",
            )
            return plain, packed, await client.get_model_metadata("fashion_decoder")

    plain, packed, metadata = asyncio.run(ask())
    assert_same(plain, embedded)
    assert_same(packed, embedded)
    assert metadata["inputs"] == [{"name": "latent", "datatype": "FP32", "shape": [-1, DIM]}]


def test_errors_come_as_the_clients_exception_with_status_and_reason(
    client: InferenceServerClient, files: NDArray[Any]
) -> None:
    bad = files[:2].copy()
    bad[1] = b"no image"
    for call, status, reason in (
        (lambda: client.infer("other", [tensor("image", files)]), "404", "there is fashion"),
        (lambda: client.infer("fashion", [tensor("image", bad)]), "415", "Item 1: "),
        (lambda: client.infer("fashion", [tensor("pixels", files)]), "400", "Expected the one input 'image'"),
        (lambda: client.get_model_metadata("fashion", "9"), "404", "version '9'"),
        (lambda: client.load_model("fashion"), "400", "models are loaded when the server starts"),
        (lambda: client.unload_model("fashion"), "400", "models are loaded when the server starts"),
        (client.get_system_shared_memory_status, "404", "No such route"),
        (client.get_log_settings, "404", "No such route"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == status
        assert reason in caught.value.message()


def recipes() -> list[tuple[str, str]]:
    """The language and the text of each block of code in the page's section, but for what installs the client."""
    section = PAGE.read_text().partition("\n## KServe and Triton clients\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in blocks if not code.startswith("pip")]


@pytest.mark.parametrize(("language", "code"), recipes(), ids=["client", "curl"])
def test_the_recipes_of_the_page_work(
    server: httpx.Client, pixels: Pixels, language: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, image in zip(("cat.png", "dog.jpg"), pixels, strict=False):
        Path(name).write_bytes(encode_png(image))  # the first bytes count, not the name
    code = code.replace("localhost:8000", f"127.0.0.1:{server.base_url.port}")
    if language == "python":
        names: dict[str, Any] = {}
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
        assert names["embeddings"].shape == (2, DIM)
        assert names["reconstructions"].shape == (2, 28, 28, 1)
        return
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["bash", "-ec", code], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [1, DIM]
    assert Path("answer.bin").read_bytes().startswith(b'{"model_name":"fashion"')


def test_statistics_count_the_items_of_a_request(client: InferenceServerClient, pixels: Pixels) -> None:
    before = client.get_inference_statistics("fashion_tensor", "1")["model_stats"][0]
    client.infer("fashion_tensor", [tensor("pixels", pixels)])
    after = client.get_inference_statistics("fashion_tensor", "1")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 32
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert len(client.get_inference_statistics()["model_stats"]) == 3


def test_a_key_goes_in_a_header(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, files: Any) -> None:
    monkeypatch.setenv("SIMVAE_API_KEY", "secret")
    with serve(MODELS) as running, InferenceServerClient(f"127.0.0.1:{running.base_url.port}") as client:
        assert client.is_model_ready("fashion")
        with pytest.raises(InferenceServerException, match="API key"):
            client.infer("fashion", [tensor("image", files)])
        result = client.infer("fashion", [tensor("image", files)], headers={"Authorization": "Bearer secret"})
        assert result.as_numpy("embedding").shape == (32, DIM)
