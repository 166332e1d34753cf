"""What other people's clients send, byte for byte: they get the vectors of `POST /embed`, and their key counts.

Python's clients were recorded by tests/e2e/integrations/contracts/test_clients.py. Those of Weaviate, in Go, are
written after its sources: modules/*/clients, and usecases/modulecomponents/clients for three that know a key. The two
others send no Content-Type.
"""

import base64
import json
import re
import socket
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.http"))
KEY = "secret-key"
RAW = {"weaviate-img2vec-neural", "weaviate-multi2vec-clip", "chroma-roboflow"}  # not of length 1
KEYLESS = {"weaviate-img2vec-neural", "weaviate-multi2vec-clip"}  # cannot send a key


@pytest.fixture
def replay(start: Callable[..., Any], make_bundle: Callable[..., Path]) -> Callable[..., tuple[int, Any]]:
    """Sends a recording to a server with the model of its name: `replay(path, api_key=…)` gives status and JSON."""
    bundle = make_bundle(name="fashion", height=8, width=8)

    def send(request: bytes, **settings: Any) -> tuple[int, Any]:
        running = start(models=bundle, **settings)
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(request)
            with HTTPResponse(connection) as answer:
                answer.begin()
                return answer.status, json.loads(answer.read())

    return send


def images_in(request: bytes) -> list[str]:
    return [found.decode() for found in re.findall(rb'"((?:data:|iVBOR|/9j/)[^"]+)"', request)]


def vectors_in(answer: Any) -> Any:
    """Out of an answer in whichever contract; base64 is float32."""
    if isinstance(answer, list):
        return np.asarray(answer)
    for name in ("vector", "imageVectors", "embeddings"):
        if name in answer:
            found = answer[name]["float"] if isinstance(answer[name], dict) else answer[name]
            return np.atleast_2d(np.asarray(found))
    rows = [entry["embedding"] for entry in answer["data"]]
    return np.asarray([np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row for row in rows])


def adapted(request: bytes) -> bytes:
    """For a model of four dimensions; the shipped one, which was recorded, has 64."""
    return request.replace(b'"dimensions":64', b'"dimensions": 4')


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_gets_the_vectors_of_the_native_route(
    recording: Path, replay: Any, start: Callable[..., Any], tmp_path: Path
) -> None:
    request = adapted(recording.read_bytes())
    status, answer = replay(request)
    assert status == 200, answer
    body = {"images": images_in(request), "normalize": recording.stem not in RAW}
    native = start(models=tmp_path / "models").client.post("/embed", json=body).json()["embeddings"]
    assert np.array_equal(vectors_in(answer).astype(np.float32), np.asarray(native, np.float32))


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)
def test_the_key_of_a_recorded_request_is_found_and_checked(recording: Path, replay: Any) -> None:
    request = adapted(recording.read_bytes())
    status, answer = replay(request, api_key=KEY)
    assert status == (401 if recording.stem in KEYLESS else 200), answer
    assert replay(request, api_key="another")[0] == 401


def test_every_contract_was_recorded() -> None:
    first_lines = {recording.read_bytes().split(b"\r\n")[0].decode() for recording in RECORDED}
    paths = {re.split(r"[ ?]", line)[1] for line in first_lines}
    assert paths == {
        "/", "/embed", "/v1/embeddings", "/v1/embed", "/v2/embed", "/v1/multimodalembeddings", "/vectors", "/vectorize",
        "/clip/embed_image",
    }  # fmt: skip
