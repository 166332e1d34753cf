"""Roboflow's contract, as Chroma speaks it."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np


def test_one_image_gives_a_list_of_one(client: httpx.Client, encoded: list[str], native: Callable[..., Any]) -> None:
    body = {"image": {"type": "base64", "value": encoded[0]}}
    answer = client.post("/clip/embed_image", params={"api_key": "None"}, json=body)
    assert (np.asarray(answer.json()["embeddings"]) == native(encoded[:1])).all()


def test_a_web_address_is_refused(client: httpx.Client) -> None:
    body = {"image": {"type": "url", "value": "http://169.254.169.254/latest/meta-data"}}
    answer = client.post("/clip/embed_image", json=body)
    assert answer.status_code == 400
    assert "does not fetch" in answer.json()["message"]


def test_a_key_in_the_query_counts_here_and_nowhere_else(start: Callable[..., Any], encoded: list[str]) -> None:
    client = start(api_key="secret").client
    body = {"image": {"type": "base64", "value": encoded[0]}}
    assert client.post("/clip/embed_image?api_key=secret", json=body).status_code == 200
    assert client.post("/clip/embed_image?api_key=wrong", json=body).json().keys() == {"message"}
    assert client.post("/embed?api_key=secret", json={"images": encoded}).status_code == 401
    assert client.get("/models?api_key=secret").status_code == 401
