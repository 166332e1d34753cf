"""TEI's contract, and that it shares a path with the native one without either noticing."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

PATHS = ["/embed", "/"]
PROBLEM = "application/problem+json"


@pytest.mark.parametrize("path", PATHS)
def test_one_image_or_many_give_a_list_of_vectors(
    path: str, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    one, many = (client.post(path, json={"inputs": inputs}).json() for inputs in (encoded[0], encoded))
    assert (np.asarray(many) == native(encoded, normalize=True)).all()
    assert one == many[:1]


@pytest.mark.parametrize("path", PATHS)
def test_options_of_texts_are_ignored_and_those_of_vectors_obeyed(
    path: str, client: httpx.Client, encoded: list[str], native: Callable[..., Any]
) -> None:
    body = {"inputs": encoded, "truncate": True, "prompt_name": None, "normalize": False, "dimensions": 4}
    assert (np.asarray(client.post(path, json=body).json()) == native(encoded)).all()
    refused = client.post(path, json=body | {"dimensions": 2})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("dimensions: expected 4")
    assert refused.json()["error_type"] == "Validation"


def test_the_body_decides_which_contract_embed_speaks(client: httpx.Client, encoded: list[str]) -> None:
    packed = gzip.compress(json.dumps({"inputs": encoded}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Accept": "application/x-npy"}
    assert isinstance(client.post("/embed", content=packed, headers=headers).json(), list)
    untyped = client.post("/embed", content=json.dumps({"inputs": encoded}).encode())
    assert isinstance(untyped.json(), list)
    assert "embeddings" in client.post("/embed", json={"images": encoded}).json()


@pytest.mark.parametrize("body", [{"images": [], "inputs": []}, {"images": ["?"]}, {"image": "?"}])
def test_a_native_body_gets_native_errors(body: dict[str, Any], client: httpx.Client) -> None:
    answer = client.post("/embed", json=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM


def test_what_is_refused_before_the_body_is_native(start: Callable[..., Any]) -> None:
    """Nobody knows then which contract it will be; the status and Retry-After are what both have in common."""
    running = start(max_body_bytes=10)
    answer = running.client.post("/embed", json={"inputs": "YWJjZGVmZw=="})
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert "more than" in answer.text or "bytes" in answer.text


def test_other_routes_know_no_inputs(client: httpx.Client, encoded: list[str]) -> None:
    answer = client.post("/reconstruct", json={"inputs": encoded})
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)


def test_info_names_the_model_and_the_limits(client: httpx.Client, start: Callable[..., Any]) -> None:
    info = client.get("/info").json()
    shown = client.get("/models/tiny").json()
    assert (info["model_id"], info["model_sha"]) == ("tiny@1", shown["fingerprint"])
    assert (info["max_client_batch_size"], info["max_concurrent_requests"]) == (256, 1024)
    locked = start(api_key="secret").client.get("/info")
    assert (locked.status_code, locked.json()["error_type"]) == (401, "Validation")
