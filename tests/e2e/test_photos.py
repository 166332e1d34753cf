"""Somebody's folder of ordinary photographs, through the commands of the README: train, export, serve, embed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_two_hundred_photographs_become_a_service(
    tmp_path: Path, command: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    photos, run, cache = tmp_path / "photos", tmp_path / "runs" / "mine", ["--cache-dir", str(tmp_path / "cache")]
    subprocess.run([sys.executable, ROOT / "tests" / "make_photos.py", photos, "--count", "200"], check=True)
    brief = ["--epochs", "2", "--set", "network.width=8"]
    trained = command("simvae-train", photos, "--preset", "folder", "--out", run, *cache, *brief)
    assert "broken.jpg" in trained.stderr
    assert "3 classes" in " ".join(trained.stderr.split())
    command("simvae-evaluate", run, *cache)
    command("simvae-export", run, tmp_path / "models" / "mine", *cache)

    with serve(tmp_path / "models") as client:
        readable = sorted(photos.glob("[!.]*/0*.*"))
        assert len(readable) == 200
        served = [client.post("/embed", content=path.read_bytes()) for path in readable[:20]]
        assert {answer.status_code for answer in served} == {200}
        bad = client.post("/embed", content=(photos / "temple" / "broken.jpg").read_bytes())
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")
        page = client.post("/reconstruct", content=readable[0].read_bytes(), headers={"Accept": "image/png"})
        assert page.content.startswith(b"\x89PNG")

    out = tmp_path / "out.npy"
    embedded = command("simvae-embed", photos, out, "--model", tmp_path / "models" / "mine" / "1")
    assert "broken.jpg" in embedded.stderr
    table = np.load(out)
    paths = [json.loads(line)["path"] for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert table.shape == (200, 64)
    by_path = dict(zip(paths, table, strict=True))
    for path, answer in zip(readable[:20], served, strict=True):
        name = str(path.relative_to(photos))
        assert np.abs(by_path[name] - np.array(answer.json()["embeddings"][0])).max() < 1e-4
