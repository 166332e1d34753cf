"""The recipes of docs/integrations.md for contracts are run, against a server, as they stand there."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[4]
SECTIONS = [
    "OpenAI",
    "LangChain",
    "Jina, Infinity, vLLM",
    "Cohere",
    "Voyage",
    "Text Embeddings Inference",
    "Roboflow, by Chroma",
]


@pytest.fixture(scope="module")
def address(serve: Callable[..., Any]) -> Iterator[str]:
    with serve(ROOT / "models") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures that the page uses, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHROMA_ROBOFLOW_API_KEY", "")  # a recipe sets it: afterwards it is as it was
    for seed, name in enumerate(("cat.png", "dog.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(name)


def code_of(section: str) -> tuple[str, str]:
    """The language and the text of a section's one block."""
    page = (ROOT / "docs/integrations.md").read_text()
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    ((language, code),) = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return language, code


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_does_what_the_page_says(section: str, address: str) -> None:
    language, code = code_of(section)
    assert "http://localhost:8000" in code
    code = code.replace("http://localhost:8000", address)
    if language == "sh":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        done = subprocess.run(["bash", "-ec", code], capture_output=True, check=True, text=True, timeout=60)
        assert done.stdout.count('"object":"list"') == code.count("\nask ")
        return
    names: dict[str, Any] = {}
    exec(compile(code, f"docs/integrations.md, {section}", "exec"), names)  # noqa: S102
    if section == "Roboflow, by Chroma":
        assert names["found"]["ids"] == [["cat"]]
        return
    found = np.asarray(names["embeddings"])
    sent = ["cat.png", "dog.jpg"][: len(found)]
    files = [("image", Path(name).read_bytes()) for name in sent]
    native = httpx.post(f"{address}/embed?normalize=true", files=files).json()["embeddings"]
    assert np.allclose(
        found, native, atol=1e-6 if section != "Voyage" else 0.05
    )  # Voyage's client encodes anew, as WebP
