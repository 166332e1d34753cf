"""The OpenAPI document: current, true of the server, and its examples work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api.openapi import document

COMMITTED = Path(__file__).parents[3] / "docs/openapi.json"


def test_the_committed_document_is_the_one_the_code_makes() -> None:
    assert COMMITTED.read_bytes() == document(), "run: python -m service.api.openapi > docs/openapi.json"


def test_the_served_document_is_the_committed_one(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == json.loads(COMMITTED.read_bytes())


def test_the_example_of_each_route_works_when_pasted(start: Callable[..., Any], tmp_path: Path) -> None:
    client = start(collections=str(tmp_path)).client
    paths = client.get("/openapi.json").json()["paths"]
    posts = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    assert {"/embed", "/reconstruct", "/similarity", "/collections/{name}/items", "/v1/embeddings"} <= set(posts)
    for path, operation in posts.items():  # adding stands before searching
        example = operation["requestBody"]["content"]["application/json"]["example"]
        if path == "/decode":  # whose example is for the shipped model
            assert example == {"latents": [[0.0] * 64]}
            example = {"latents": [[0.0] * 4]}
        answer = client.post(path.format(name="shop"), json=example)
        assert answer.status_code == 200, (path, answer.text)


def test_requests_made_from_the_document_get_answers_that_the_document_describes(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    running = start(collections=str(tmp_path))
    base = f"http://127.0.0.1:{running.port}"
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    operations = [result.ok() for result in schema.get_all_operations()]
    paths = json.loads(COMMITTED.read_bytes())["paths"]
    assert len(operations) == sum(map(len, paths.values()))
    strategy = st.one_of([operation.as_strategy() for operation in operations])
    seen: set[int] = set()

    @given(case=strategy)
    @settings(max_examples=400, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def run(case: schemathesis.Case) -> None:
        response = case.call()
        seen.add(response.status_code)
        case.validate_response(response, checks=checks)

    run()
    assert {200, 400} <= seen
    assert 500 not in seen  # 504 may be: the deadline of a request is its own wish
