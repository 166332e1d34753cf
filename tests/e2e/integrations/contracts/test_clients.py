"""Other people's clients, unchanged but for the address, against a running server.

What each of them sends is kept in tests/service/api/contracts/recorded, byte for byte, for tests that need no client.
Here they must still send that; with SIMVAE_RECORD=1 it is written anew.
"""

import asyncio
import contextlib
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.documentation import EXAMPLES

RECORDED = Path(__file__).parents[3] / "service/api/contracts/recorded"
MODELS = Path(__file__).parents[4] / "models"
KEY = "secret-key"
IMAGES = [f"data:image/png;base64,{image}" for image in EXAMPLES]


def with_openai(url: str) -> Any:
    from openai import OpenAI  # noqa: PLC0415 - each of these takes seconds to import

    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.embeddings.create(model="fashion", input=IMAGES)
    return [entry.embedding for entry in answer.data]


def with_openai_async(url: str) -> Any:
    from openai import AsyncOpenAI  # noqa: PLC0415

    async def ask() -> Any:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            return await client.embeddings.create(model="fashion", input=IMAGES, encoding_format="float", dimensions=64)

    return [entry.embedding for entry in asyncio.run(ask()).data]


def with_langchain_openai(url: str) -> Any:
    from langchain_openai import OpenAIEmbeddings  # noqa: PLC0415

    client = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key=KEY, model="fashion", check_embedding_ctx_length=False, max_retries=0
    )
    return client.embed_documents(IMAGES)


def with_cohere_v1(url: str) -> Any:
    import cohere  # noqa: PLC0415

    answer = cohere.Client(KEY, base_url=url).embed(model="fashion", images=IMAGES, input_type="image")
    assert answer.response_type == "embeddings_floats"
    return answer.embeddings


def with_cohere_v2(url: str) -> Any:
    import cohere  # noqa: PLC0415

    client = cohere.ClientV2(KEY, base_url=url)
    types = ["float", "ubinary"]
    answer = client.embed(model="fashion", images=IMAGES, input_type="image", embedding_types=types)
    assert len(answer.embeddings.ubinary[0]) == 8
    return answer.embeddings.float_


def with_voyage(url: str, key: str = KEY) -> Any:
    import requests  # noqa: PLC0415
    import voyageai  # noqa: PLC0415

    inputs = [{"content": [{"type": "image_base64", "image_base64": image}]} for image in IMAGES]
    with requests.Session() as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(voyageai, "requestssession", session)  # its own stays open until the interpreter ends
        client = voyageai.Client(key, base_url=f"{url}/v1", max_retries=1)
        return client.multimodal_embed(inputs, model="fashion").embeddings


def with_hugging_face(url: str) -> Any:
    from huggingface_hub import InferenceClient  # noqa: PLC0415

    return InferenceClient(url, token=KEY).feature_extraction(IMAGES)


def with_chroma_tei(url: str) -> Any:
    from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer  # noqa: PLC0415

    with warnings.catch_warnings(action="ignore"):  # it deprecates keys that are not in the environment
        return HuggingFaceEmbeddingServer(f"{url}/embed", api_key=KEY)(IMAGES)


def with_chroma_roboflow(url: str) -> Any:
    from chromadb.utils.embedding_functions import RoboflowEmbeddingFunction  # noqa: PLC0415

    with warnings.catch_warnings(action="ignore"):
        embed = RoboflowEmbeddingFunction(api_key=KEY, api_url=url)
    return embed([np.arange(64, dtype=np.uint8).reshape(8, 8)])


CLIENTS: dict[str, Callable[[str], Any]] = {
    "openai": with_openai,
    "openai-async": with_openai_async,
    "langchain-openai": with_langchain_openai,
    "cohere-v1": with_cohere_v1,
    "cohere-v2": with_cohere_v2,
    "voyageai": with_voyage,
    "huggingface-hub": with_hugging_face,
    "chroma-tei": with_chroma_tei,
    "chroma-roboflow": with_chroma_roboflow,
}


class Recorder:
    """Stands between a client and the server, passes everything on, and keeps what the client says."""

    def __init__(self, port: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self._port, self._sockets, self._threads = port, [listener], list[threading.Thread]()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.heard = bytearray()
        self._start(self._accept, listener)

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):  # the client has gone already
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        for each in self._sockets:
            each.close()

    def request(self) -> bytes:
        """The one request that was heard, as if to `localhost:8000`."""
        head, _, body = bytes(self.heard).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length, "expected a request with a length"
        assert int(length[1]) == len(body), "expected one request"
        return re.sub(rb"(?i)(\r\nhost): [^\r]*", rb"\1: localhost:8000", head) + b"\r\n\r\n" + body

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [client, server]
                self._start(self._pass, client, server, self.heard)
                self._start(self._pass, server, client, bytearray())

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, heard: bytearray) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                heard += piece
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    """The shipped model, behind a key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIMVAE_API_KEY", KEY)
        with serve(MODELS) as client:
            client.headers["X-API-Key"] = KEY
            yield client


@pytest.fixture
def recorder(server: httpx.Client) -> Iterator[Recorder]:
    recorder = Recorder(server.base_url.port or 0)
    yield recorder
    recorder.close()


def essence(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    """What must not change: the first line, how the body is typed and where the key is, and the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    kept = sorted(
        line for line in headers if line.lower().startswith((b"content-type", b"authorization", b"x-api-key"))
    )
    return first, kept, body


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_gets_the_embeddings_of_the_native_route(name: str, server: httpx.Client, recorder: Recorder) -> None:
    found = np.asarray(CLIENTS[name](recorder.url), np.float32)
    path, request = RECORDED / f"{name}.http", recorder.request()
    if os.environ.get("SIMVAE_RECORD"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(request)
    assert essence(request) == essence(path.read_bytes()), "it sends something else now: SIMVAE_RECORD=1 records it"
    if name == "chroma-roboflow":  # sends a JPEG that it made itself
        images, normalize = [re.findall(rb'"value": ?"([^"]*)"', request)[0].decode()], False
    else:
        images, normalize = IMAGES, True
    native = server.post("/embed", json={"images": images, "normalize": normalize}).json()["embeddings"]
    assert np.array_equal(found, np.asarray(native, np.float32))


def test_each_client_makes_its_own_exceptions_of_errors(server: httpx.Client) -> None:
    import cohere  # noqa: PLC0415
    import openai  # noqa: PLC0415
    import voyageai.error  # noqa: PLC0415

    url = str(server.base_url).rstrip("/")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
        assert refused.value.code == "invalid_api_key"
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="does not fetch") as refused_image:
            client.embeddings.create(model="fashion", input=[IMAGES[0], "https://a.example/cat.png"])
        assert refused_image.value.param == "input[1]"
        with pytest.raises(openai.NotFoundError, match="there is fashion@1"):
            client.embeddings.create(model="text-embedding-3-small", input=IMAGES)
        assert [model.id for model in client.models.list()] == ["fashion", "fashion@1"]
        assert client.models.retrieve("fashion").owned_by == "simvae"
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2("wrong", base_url=url).embed(model="fashion", images=IMAGES, input_type="image")
    with pytest.raises(voyageai.error.AuthenticationError, match="not one that this server knows"):
        with_voyage(url, "wrong")
