"""The setting picks the encoder, and every answer says which it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.settings import read_settings
from service.engine.engine import Engine

PRECISIONS = ["float32", "float16", "int8"]


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(precisions=PRECISIONS[1:])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_setting_picks_the_encoder_and_answers_tell_which(
    bundle: Path, start: Callable[..., Any], png: bytes, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMVAE_PRECISION", precision)
    client: httpx.Client = start(models=bundle, precision=read_settings().precision).client
    with Engine.load(bundle, precision=precision) as engine:  # type: ignore[arg-type]
        expected, fingerprint = engine.embed([png]).mean, engine.fingerprint
    for route, fields in (("/embed", {}), ("/reconstruct", {}), ("/similarity", {"metrics": "cosine"})):
        name = "left" if route == "/similarity" else "image"
        answer = client.post(route, files=[(name, png)], params=fields)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Model-Precision"] == precision
        assert answer.headers["X-Model-Fingerprint"] == answer.json()["fingerprint"] == fingerprint
    answer = client.post("/embed", content=png)
    np.testing.assert_allclose(answer.json()["embeddings"], expected, atol=1e-6)
    card = client.get("/models").json()["models"][0]
    assert (card["precision"], card["precisions"]) == (precision, PRECISIONS)
    assert card["manifest"]["encoders"][1]["versus_float32"]["overlap"] == 0.9


def test_a_precision_that_a_bundle_lacks_keeps_the_server_from_starting(
    make_bundle: Callable[..., Path], start: Callable[..., Any]
) -> None:
    running = start(models=make_bundle(precisions=["float16"]), precision="int8")
    assert running.repository.state == "failed"
    assert str(running.repository.failure) == (
        "tiny@1: expected an encoder in int8, found float32, float16; export it or choose that."
    )
