"""Open Inference Protocol: statistics count what a model did, whichever contract asked for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

RAW = {"Inference-Header-Content-Length": "0"}


def statistics(client: httpx.Client, path: str) -> dict[tuple[str, str], dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200
    return {(entry["name"], entry["version"]): entry for entry in answer.json()["model_stats"]}


def counts(entry: dict[str, Any]) -> tuple[int, int, int]:
    """Requests that succeeded, that failed, and items."""
    requests = entry["inference_stats"]
    return requests["success"]["count"], requests["fail"]["count"], entry["inference_count"]


def test_requests_of_every_contract_count_for_the_model_that_ran_them(start: Callable[..., Any], png: bytes) -> None:
    client = start().client
    assert {counts(entry) for entry in statistics(client, "/v2/models/stats").values()} == {(0, 0, 0)}
    assert client.post("/embed", files=[("f", png)] * 3).status_code == 200
    assert client.post("/v2/models/tiny_tensor/infer", content=bytes(2 * 784), headers=RAW).status_code == 200
    assert client.post("/v2/models/tiny/infer", content=b"no image", headers=RAW).status_code == 415
    assert client.post("/v2/models/tiny_decoder/infer", content=bytes(16), headers=RAW).status_code == 200
    found = statistics(client, "/v2/models/stats")
    assert {name: counts(entry) for (name, _), entry in found.items()} == {
        "tiny": (2, 1, 5),
        "tiny_tensor": (2, 1, 5),
        "tiny_decoder": (1, 0, 1),
    }


def test_batches_add_up_to_the_items_and_times_to_nanoseconds(start: Callable[..., Any]) -> None:
    client = start().client
    for _ in range(3):
        client.post("/v2/models/tiny_tensor/infer", content=bytes(2 * 784), headers=RAW).raise_for_status()
    entry = statistics(client, "/v2/models/tiny_tensor/versions/1/stats")["tiny_tensor", "1"]
    batches = [(batch["batch_size"], batch["compute_infer"]) for batch in entry["batch_stats"]]
    assert sum(size * total["count"] for size, total in batches) == entry["inference_count"] == 6
    assert sum(total["count"] for _, total in batches) == entry["execution_count"]
    assert entry["last_inference"] > 1_600_000_000_000  # milliseconds
    totals = entry["inference_stats"]
    assert 1_000 < totals["compute_infer"]["ns"] <= totals["success"]["ns"] < 60_000_000_000
    assert all(isinstance(total["ns"], int) for total in totals.values())


def test_statistics_are_of_all_versions_or_of_the_one_that_is_named(
    start: Callable[..., Any], make_bundle: Callable[..., Path]
) -> None:
    models = make_bundle(version=1).parents[1]
    make_bundle(version=2)
    client = start(models=models).client
    assert list(statistics(client, "/v2/models/tiny_decoder/stats")) == [("tiny_decoder", "1"), ("tiny_decoder", "2")]
    assert list(statistics(client, "/v2/models/tiny/versions/1/stats")) == [("tiny", "1")]
    assert client.get("/v2/models/tiny/versions/3/stats").status_code == 404
    assert list(client.get("/v2/models/other/stats").json()) == ["error"]
