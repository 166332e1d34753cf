"""The recipes for vector databases in docs/integrations.md do, as they stand there, what people paste them for."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.images import encode_png
from training.datasets.sources import open_source

PAGE = Path(__file__).parents[3] / "docs" / "integrations.md"
SECTION = PAGE.read_text().partition("\n## Vector databases\n")[2].partition("\n## ")[0]
RECIPES = dict(re.findall(r"^### (.+?)\n.*?^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))

pytestmark = pytest.mark.timeout(600)

Nearest = Callable[..., list[str]]


@pytest.fixture
def nearest(service: str, tmp_path: Path) -> Nearest:
    """Runs a recipe beside a folder of photos, one of which is the query, and gives what it found."""
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for number, pixels in enumerate(open_source("fashion-mnist-sample").test.images[:40]):
        (photos / ("more" if number % 2 else ".") / f"{number}.png").write_bytes(encode_png(pixels))
    shutil.copy(photos / "more" / "7.png", tmp_path / "cat.png")

    def run(title: str, **addresses: str) -> list[str]:
        code = RECIPES[title].replace("http://localhost:8000", service)
        for shown, real in addresses.items():
            assert shown in code
            code = code.replace(shown, real)
        command = [sys.executable, "-c", f"{code}\nprint(*nearest, sep='\\n')"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def assert_found(paths: list[str]) -> None:
    assert paths[0] == "more/7.png"
    assert len(set(paths)) == 5


def test_every_recipe_is_tried_here() -> None:
    tried = set(re.findall(r'nearest\("(.+?)"', Path(__file__).read_text()))
    assert tried == RECIPES.keys()


def test_qdrant(nearest: Nearest) -> None:
    assert_found(nearest("Qdrant"))


def test_chroma(nearest: Nearest, chroma: str) -> None:
    host, port = chroma.split(":")
    for _ in range(2):  # what is there already is replaced
        assert_found(nearest("Chroma", **{'"localhost"': f'"{host}"', "8001": port}))


def test_lancedb(nearest: Nearest) -> None:
    for _ in range(2):
        assert_found(nearest("LanceDB"))


def test_pgvector(nearest: Nearest, postgres: str) -> None:
    for _ in range(2):
        assert_found(nearest("pgvector", **{"postgresql://user:password@localhost/name": postgres}))


def test_faiss(nearest: Nearest) -> None:
    assert_found(nearest("FAISS"))
