from collections.abc import Callable
from typing import Any

import httpx
import pytest

KEYS = "first-key, second-key"


@pytest.fixture
def locked(start: Callable[..., Any]) -> httpx.Client:
    client: httpx.Client = start(api_key=KEYS).client
    return client


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"},
        {"Authorization": "bearer second-key"},
        {"X-API-Key": "second-key"},
    ],
)
def test_each_key_opens_in_either_header(headers: dict[str, str], locked: httpx.Client, png: bytes) -> None:
    assert locked.post("/embed", content=png, headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic Zmlyc3Qta2V5"},
        {"Authorization": "Bearer first-key, second-key"},
        {"X-API-Key": ""},
        {"X-API-Key": "schlüssel"},
    ],
)
def test_nothing_else_does(headers: dict[str, str], locked: httpx.Client, png: bytes) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path in [
        ("POST", "/embed"),
        ("POST", "/reconstruct"),
        ("POST", "/similarity"),
        ("POST", "/decode"),
        ("GET", "/models"),
        ("GET", "/models/tiny"),
        ("GET", "/metrics"),
    ]:
        answer = locked.request(method, path, content=png, headers=raw)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "urn:simvae:problem:unauthorized"


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_health_pages_and_documents_are_open(path: str, locked: httpx.Client) -> None:
    assert locked.get(path).status_code == 200
