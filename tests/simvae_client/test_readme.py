"""What the README shows of the client runs as it stands there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = [
    block for block in re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S) if "_client" in block
]


def test_the_example_of_the_readme_runs(
    address: str,
    make_image: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shoe.png").write_bytes(make_image(seed=1))
    Path("coat.jpg").write_bytes(make_image("JPEG", size=(60, 40), mode="RGB", seed=2))
    Path("photos").mkdir()
    Path("photos/0.png").write_bytes(make_image(seed=3))
    (block,) = BLOCKS
    exec(compile(block.replace("http://localhost:8000", address), "README.md", "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("(2, 4) tiny@1 ")
    assert shown[-1] == "1 (1, 4) ()"
