import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog


def test_a_request_id_is_kept_or_made_and_always_returned(client: httpx.Client, png: bytes) -> None:
    for path, content in (("/embed", png), ("/embed", b"no image"), ("/nothing", b"")):
        kept = client.post(path, content=content, headers={"X-Request-ID": "job-7:part.3"})
        assert kept.headers["x-request-id"] == "job-7:part.3"
        made = {client.post(path, content=content).headers["x-request-id"] for _ in range(3)}
        assert len(made) == 3


@pytest.mark.parametrize("given", ["two words", "x" * 129, '"quoted"', "<script>"])
def test_an_id_that_could_break_a_log_is_replaced(given: str, client: httpx.Client) -> None:
    answer = client.get("/health/live", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_request_is_one_log_line_without_bodies_or_keys(
    start: Callable[..., Any], png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    client = start(api_key="secret-key").client
    with structlog.testing.capture_logs() as lines:
        client.post(
            "/embed", files=[("f", png), ("f", png)], headers={"X-API-Key": "secret-key", "X-Request-ID": "mine"}
        )
        client.post("/embed", content=b"secret-body", headers={"X-API-Key": "secret-wrong"})
    first, second = [line for line in lines if line["event"] == "request"]
    assert first.pop("duration_s") > 0
    assert first == {
        "event": "request",
        "log_level": "info",
        "request_id": "mine",
        "method": "POST",
        "route": "/embed",
        "status": 200,
        "items": 2,
    }
    assert (second["status"], second["problem"], second["items"]) == (401, "unauthorized", 0)
    assert "secret" not in json.dumps(lines)


def test_routes_are_counted_by_template_and_unknown_paths_as_one(start: Callable[..., Any]) -> None:
    running = start()
    for path in ("/models/tiny", "/models/other", "/a", "/b", "/c/d"):
        running.client.get(path)
    text = running.client.get("/metrics").text
    routes = set(re.findall(r'simvae_requests_total\{code="\d+",route="([^"]+)"\}', text))
    assert routes <= {"/models/{name}", "unknown", "/health/live", "/health/ready"}
    assert running.metric("simvae_requests_total", route="unknown", code="404") == 3


def test_metrics_count_what_happened(start: Callable[..., Any], png: bytes) -> None:
    running = start()
    client: httpx.Client = running.client
    client.post("/embed", files=[("f", png)] * 3)
    client.post("/embed", files=[("f", png), ("f", b"no image")], params={"on_error": "skip"})
    text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=")
    info = client.get("/models").json()["models"][0]
    for line in (
        "simvae_items_total 4.0",
        'simvae_requests_total{code="200",route="/embed"} 2.0',
        'simvae_request_duration_seconds_count{route="/embed"} 2.0',
        'simvae_stage_duration_seconds_count{priority="interactive",stage="decode"} 2.0',
        'simvae_stage_duration_seconds_count{priority="interactive",stage="queue"} 2.0',
        'simvae_stage_duration_seconds_count{priority="interactive",stage="inference"} 2.0',
        'simvae_image_errors_total{kind="unsupported-image-format"} 1.0',
        "simvae_queue_items 0.0",
    ):
        assert line in text.text.splitlines()
    assert f'fingerprint="{info["fingerprint"]}"' in text.text
    assert running.metric("simvae_batches_total") == running.metric("simvae_batch_size_count")
    assert running.metric("simvae_batch_size_sum") == 4


def test_browsers_of_other_origins_are_let_in_only_when_named(start: Callable[..., Any], png: bytes) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    closed = start().client
    assert "access-control-allow-origin" not in closed.post("/embed", content=png, headers=asks).headers
    assert closed.options("/embed", headers=asks).status_code == 405
    named = start(cors_origins=("https://a.example",), api_key="key").client
    preflight = named.options("/embed", headers=asks | {"Access-Control-Request-Headers": "x-api-key"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    refused = named.post("/embed", content=png, headers=asks)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    answer = named.post("/embed", content=png, headers=asks | {"X-API-Key": "key"})
    assert "X-Model-Fingerprint" in answer.headers["access-control-expose-headers"]
    other = named.post("/embed", content=png, headers={"Origin": "https://b.example", "X-API-Key": "key"})
    assert "access-control-allow-origin" not in other.headers
