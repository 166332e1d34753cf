"""Every script of `examples/` finds the true neighbours in the system that it is about, through a running service."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
LEAST_RECALL = 0.95

pytestmark = pytest.mark.timeout(600)


def recall(script: str, service: str, *arguments: str) -> float:
    command = [sys.executable, EXAMPLES / script, "--url", service, "--images", "320", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "40 queries over 280 images with fashion@1" in done.stdout
    (found,) = re.findall(r"^recall@10 (\S+)$", done.stdout, re.MULTILINE)
    return float(found)


def test_every_script_is_tried_here() -> None:
    tried = set(re.findall(r'recall\("(\w+_store\.py)"', Path(__file__).read_text()))
    assert tried == {path.name for path in EXAMPLES.glob("*_store.py")}


def test_qdrant(service: str) -> None:
    assert recall("qdrant_store.py", service) >= LEAST_RECALL


def test_chroma(service: str, chroma: str) -> None:
    for _ in range(2):  # what is there already is replaced
        assert recall("chroma_store.py", service, "--place", chroma) >= LEAST_RECALL


def test_lancedb(service: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert recall("lancedb_store.py", service, "--place", str(tmp_path)) >= LEAST_RECALL


def test_faiss(service: str, tmp_path: Path) -> None:
    assert recall("faiss_store.py", service, "--place", str(tmp_path)) >= LEAST_RECALL


def test_pgvector(service: str, postgres: str) -> None:
    for _ in range(2):
        assert recall("pgvector_store.py", service, "--place", postgres) >= LEAST_RECALL


def test_langchain(service: str) -> None:
    assert recall("langchain_store.py", service) >= LEAST_RECALL
