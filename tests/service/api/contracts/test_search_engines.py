"""The definitions in examples/ for OpenSearch and Elasticsearch, filled in as each of them does, and sent.

OpenSearch: `OpenAIEmbeddingPreProcessFunction` puts all documents into `parameters.input`, `HttpConnector` fills the
templates (lists as JSON), `MLPostProcessFunction` reads `$.data[*].embedding`. Elasticsearch: `CustomRequest` writes
every value as JSON in `request` and as text in `headers`, and sets a Content-Type where none is given.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[4] / "examples"
MANIFEST = json.loads((EXAMPLES.parent / "models/fashion/1/manifest.json").read_bytes())


@pytest.fixture
def fashion(start: Callable[..., Any], make_bundle: Callable[..., Path]) -> httpx.Client:
    """A server with a model of the name in the definitions, that knows the key in them and no other."""
    client: httpx.Client = start(models=make_bundle(name="fashion"), api_key="YOUR_KEY").client
    return client


def load(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_bytes())


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replaces `${name}`; a name without a value is an error in both systems."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: values[match[1]], template)


def send(client: httpx.Client, url: str, headers: Mapping[str, str], body: str) -> Any:
    assert url.startswith("http://simvae:8000/")
    answer = client.post(url.removeprefix("http://simvae:8000"), headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    return [entry["embedding"] for entry in answer.json()["data"]]


def native(client: httpx.Client, encoded: list[str]) -> Any:
    body = {"images": encoded, "normalize": True}
    return client.post("/embed", json=body, headers={"X-API-Key": "YOUR_KEY"}).json()["embeddings"]


def test_opensearch_gets_the_vectors_of_the_native_route(fashion: httpx.Client, encoded: list[str]) -> None:
    connector = load("opensearch/connector.json")
    (action,) = connector["actions"]
    assert action["pre_process_function"] == "connector.pre_process.openai.embedding"
    assert action["post_process_function"] == "connector.post_process.openai.embedding"
    values = {f"parameters.{name}": value for name, value in connector["parameters"].items()}
    values |= {f"credential.{name}": value for name, value in connector["credential"].items()}
    values["parameters.input"] = json.dumps(encoded)
    url, body = fill(action["url"], values), fill(action["request_body"], values)
    headers = {name: fill(value, values) for name, value in action["headers"].items()}
    assert np.array_equal(send(fashion, url, headers, body), native(fashion, encoded))
    (trusted,) = load("opensearch/settings.json")["persistent"]["plugins.ml_commons.trusted_connector_endpoints_regex"]
    assert re.fullmatch(trusted, url)


def test_elasticsearch_gets_the_vectors_of_the_native_route(fashion: httpx.Client, encoded: list[str]) -> None:
    settings = load("elasticsearch/inference.json")["service_settings"]
    assert settings["response"]["json_parser"] == {"text_embeddings": "$.data[*].embedding[*]"}
    texts = settings["secret_parameters"]
    headers = {name: fill(value, texts) for name, value in settings["headers"].items()}
    as_json = {name: json.dumps(value) for name, value in texts.items()} | {"input": json.dumps(encoded)}
    body = fill(settings["request"], as_json)
    assert np.array_equal(send(fashion, settings["url"], headers, body), native(fashion, encoded))


def test_dimensions_are_those_of_the_shipped_model_and_fields_those_of_the_index() -> None:
    dim = MANIFEST["embedding"]["dim"]
    vector = load("opensearch/index.json")["mappings"]["properties"]["embedding"]
    assert vector["dimension"] == dim
    processor, _ = load("opensearch/pipeline.json")["processors"]
    assert processor["text_embedding"]["field_map"] == {"image": "embedding"}
    assert load("elasticsearch/inference.json")["service_settings"]["dimensions"] == dim
    assert load("elasticsearch/index.json")["mappings"]["properties"]["embedding"]["dims"] == dim
    processor, _ = load("elasticsearch/pipeline.json")["processors"]
    fields = [{"input_field": "image", "output_field": "embedding"}]
    assert processor["inference"] == {"model_id": "simvae", "input_output": fields}
