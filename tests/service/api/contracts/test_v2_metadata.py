"""Open Inference Protocol: what clients ask before they send an image."""

import json
import math
import socket
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engine import device

RECORDED = Path(__file__).parent / "recorded" / "v2"
NAMES = [f"{bundle}{use}" for bundle in ("tiny", "tiny-rgb") for use in ("", "_tensor", "_decoder")]


def assert_refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def test_the_server_names_itself_and_the_extensions_that_it_speaks(client: httpx.Client) -> None:
    content = client.get("/v2").json()
    assert content["name"] == "simvae"
    assert {"binary_tensor_data", "schedule_policy", "model_repository"} <= set(content["extensions"])


@pytest.mark.parametrize("path", ["/v2/models/tiny-rgb_tensor", "/v2/models/tiny-rgb_tensor/versions/1"])
def test_metadata_says_the_tensors_of_a_model(client: httpx.Client, path: str) -> None:
    assert client.get(path).json() == {
        "name": "tiny-rgb_tensor",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
        "outputs": [
            {"name": "embedding", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "variance", "datatype": "FP32", "shape": [-1, 4]},
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_agrees_with_the_metadata(client: httpx.Client, name: str) -> None:
    metadata, config = client.get(f"/v2/models/{name}").json(), client.get(f"/v2/models/{name}/config").json()
    assert config["name"] == name
    assert config["max_batch_size"] == 256
    types = {"BYTES": "TYPE_STRING", "UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32"}
    for side in ("input", "output"):
        expected = [(each["name"], types[each["datatype"]], each["shape"][1:]) for each in metadata[f"{side}s"]]
        assert [(each["name"], each["data_type"], each["dims"]) for each in config[side]] == expected


@pytest.mark.parametrize("name", [name for name in NAMES if "_" in name])
def test_a_request_made_from_the_metadata_alone_is_answered_as_it_says(client: httpx.Client, name: str) -> None:
    metadata = client.get(f"/v2/models/{name}").json()
    tensor = metadata["inputs"][0] | {"shape": [2, *metadata["inputs"][0]["shape"][1:]]}
    tensor["data"] = [0] * math.prod(tensor["shape"])
    answer = client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).json()
    found = [{key: output[key] for key in ("name", "datatype", "shape")} for output in answer["outputs"]]
    assert found == [output | {"shape": [2, *output["shape"][1:]]} for output in metadata["outputs"]]


def test_the_index_lists_every_name_for_the_bytes_that_tritons_client_sends(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall((RECORDED / "index.http").read_bytes())
        answer = HTTPResponse(connection)
        answer.begin()
        entries = json.loads(answer.read())
    assert answer.status == 200
    assert entries == [{"name": name, "version": "1", "state": "READY", "reason": ""} for name in NAMES]


@pytest.mark.parametrize("action", ["load", "unload"])
def test_loading_and_unloading_are_refused_with_what_to_do_instead(client: httpx.Client, action: str) -> None:
    answer = client.post(f"/v2/repository/models/tiny/{action}", json={})
    assert_refused(answer, 400, f"'{action}' is not possible here: models are loaded when the server starts")
    assert client.get("/v2/models/tiny/ready").status_code == 200


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/versions/1", "/versions/1/ready", "/versions/1/config"])
def test_an_unknown_model_is_refused_with_those_that_there_are(client: httpx.Client, path: str) -> None:
    assert_refused(client.get(f"/v2/models/other{path}"), 404, "tiny_tensor (version 1)")


@pytest.mark.parametrize(("name", "version"), [("tiny", "2"), ("tiny", "x"), ("other", "1"), ("_tensor", "1")])
def test_an_unknown_version_is_refused(client: httpx.Client, name: str, version: str) -> None:
    answer = client.post(f"/v2/models/{name}/versions/{version}/infer", json={})
    assert_refused(answer, 404, f"No model '{name}' of version '{version}'")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/trace/setting"),
        ("GET", "/v2/models/tiny/infer"),
        ("POST", "/v2/models/tiny"),
        ("POST", "/v2/models/stats"),
    ],
)
def test_what_is_not_offered_is_refused_in_the_protocols_shape(client: httpx.Client, method: str, path: str) -> None:
    assert_refused(client.request(method, path), 404, "No such route")


def test_the_newest_version_answers_where_none_is_asked_for(
    start: Callable[..., Any], make_bundle: Callable[..., Path]
) -> None:
    models = make_bundle(version=2).parents[1]
    make_bundle(version=10, seed=1)
    client = start(models=models).client
    assert client.get("/v2/models/tiny").json()["versions"] == ["2", "10"]
    answers = [
        client.post(
            f"/v2/models/tiny_tensor{version}/infer",
            content=bytes(784),
            headers={"Inference-Header-Content-Length": "0"},
        )
        for version in ("", "/versions/2", "/versions/10")
    ]
    assert [answer.headers["X-Model"] for answer in answers] == ["tiny@10", "tiny@2", "tiny@10"]


def test_a_bundle_goes_before_the_use_of_another_by_the_same_name(
    start: Callable[..., Any], make_bundle: Callable[..., Path]
) -> None:
    models = make_bundle(name="tiny").parents[1]
    make_bundle(name="tiny_tensor")
    client = start(models=models).client
    assert client.get("/v2/models/tiny_tensor").json()["inputs"][0]["name"] == "image"


def test_health_is_as_that_of_the_server_and_asks_for_no_key(start: Callable[..., Any]) -> None:
    with device._creating:  # the lock that every session waits for, so loading lasts as long as the test wants
        running = start(wait=False, api_key="secret")
        assert running.client.get("/v2/health/live").json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
            assert_refused(running.client.get(path), 503, "The service is not ready: loading.")
        headers = {"X-API-Key": "secret"}
        assert_refused(running.client.post("/v2/repository/index", headers=headers), 503, "not ready")
        assert_refused(running.client.get("/v2/models/tiny", headers=headers), 503, "No model is there yet")
    running.wait_for(lambda: running.client.get("/v2/health/ready").status_code == 200)
    assert running.client.get("/v2/health/ready").json() == {"ready": True}
    assert running.client.get("/v2/models/tiny_tensor/versions/1/ready").json() == {
        "name": "tiny_tensor",
        "ready": True,
    }


@pytest.mark.parametrize("path", ["/v2", "/v2/models/tiny", "/v2/models/tiny/config", "/v2/anything"])
def test_all_but_health_needs_the_key(start: Callable[..., Any], path: str) -> None:
    assert_refused(start(api_key="secret").client.get(path), 401, "Expected an API key")
