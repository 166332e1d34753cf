"""The examples of docs/api.md are run, against a server, as they stand there."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "docs/api.md"
BLOCKS = re.findall(
    r"^```(sh|python)\n(.*?)^```(?:\n\n```json\n(.*?)^```)?", PAGE.read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def address(
    start: Callable[..., Any],
    make_bundle: Callable[..., Path],
    make_image: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A server with a model and a collection as the page names them, and its files in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(make_image(seed=1))
    Path("dog.jpg").write_bytes(make_image("JPEG", size=(60, 40), mode="RGB", seed=2))
    Path("broken.png").write_bytes(make_image(seed=1)[:300])
    Path("images.ndjson").write_bytes(b"".join(map(line_of, ("cat.png", "broken.png"))))
    np.save("batch.npy", np.zeros((3, 28, 28, 1), np.uint8))
    bundle = make_bundle(name="fashion")
    running = start(models=bundle, host="localhost", collections=str(tmp_path / "collections"))
    files = [("image", (name, Path(name).read_bytes())) for name in ("cat.png", "dog.jpg")]
    payloads = json.dumps({"cat.png": {"kind": "cat"}, "dog.jpg": {"kind": "dog", "weight": 31.5}})
    added = running.client.post("/collections/pets/items", files=files, data={"payloads": payloads})
    assert added.status_code == 200, added.text
    return f"http://localhost:{running.port}"


@pytest.mark.parametrize(("language", "code", "answer"), BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_does_what_the_page_says(language: str, code: str, answer: str, address: str) -> None:
    code = code.replace("http://localhost:8000", address)
    if language == "python":
        exec(compile(code, "docs/api.md", "exec"), {})  # noqa: S102
        return
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["bash", "-c", code], capture_output=True, check=True, timeout=60)
    if "-o seen.png" in code:
        assert Path("seen.png").read_bytes().startswith(b"\x89PNG")
        return
    parse = parse_lines if "x-ndjson" in code else json.loads
    found = parse(done.stdout)
    assert answer or "embeddings" in found
    if answer:
        assert_shape(found, parse(re.sub(r",? ?…", "", answer)))


def line_of(name: str) -> bytes:
    image = base64.b64encode(Path(name).read_bytes()).decode()
    return json.dumps({"id": name, "image": image}).encode() + b"\n"


def parse_lines(text: str | bytes) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def assert_shape(found: Any, shown: Any) -> None:
    """The same fields and types; the same texts but for what differs from model to model."""
    if isinstance(shown, dict):
        assert list(found) == list(shown) or shown == {}
        for key, value in shown.items():
            if key in {"type", "title", "status", "index", "version", "reference", "default"}:
                assert found[key] == value
            else:
                assert_shape(found[key], value)
    elif isinstance(shown, list):
        numbers = bool(shown) and isinstance(shown[0], int | float | str)
        assert (len(found) >= len(shown)) if numbers else (len(found) == len(shown))
        for one, other in zip(found, shown, strict=False):
            assert_shape(one, other)
    else:
        number = isinstance(shown, int | float)
        assert isinstance(found, int | float) if number else isinstance(found, type(shown))


def test_the_page_lists_every_problem_there_is() -> None:
    from service.api.errors import _ROUTING, TABLE  # noqa: PLC0415

    rows = dict(re.findall(r"^\| (\d+) \| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE))
    listed = {(int(status), name) for status, names in rows.items() for name in re.findall(r"`([^`]+)`", names)}
    kinds = [*TABLE.values(), *_ROUTING.values()]
    assert listed == {(kind.status, kind.name) for kind in kinds if kind.status != 499}
