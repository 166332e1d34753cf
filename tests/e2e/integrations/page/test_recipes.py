"""The commands that the page shows do, as they stand there, what the page did."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AWKWARD = 'it\'s "my" photo; one, two.png'


@pytest.fixture
def opened(visit: Callable[..., Any], sample: Callable[[str], bytes], tmp_path: Path, monkeypatch: Any) -> Any:
    """Two samples and a file of one's own with an awkward name, which is in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path(AWKWARD).write_bytes(sample("dress"))
    opened = visit(permissions=["clipboard-read", "clipboard-write"])
    for title in ("Ankle boot", "Smiley, which is no clothing"):
        opened.page.get_by_role("button", name=title, exact=True).click()
    opened.page.wait_for_function("() => document.querySelectorAll('.card').length === 2")
    opened.add({AWKWARD: sample("dress")})
    return opened


def recipe(opened: Any, place: str, language: str) -> str:
    """What the button copies."""
    section = opened.page.locator(f"#{place}")
    if section.locator("details").get_attribute("open") is None:
        section.locator("summary").click()
    section.get_by_role("button", name=f"Copy the {language} commands").click()
    text: str = opened.page.evaluate("navigator.clipboard.readText()")
    return text.replace("\r\n", "\n")


def run_curl(text: str) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return subprocess.run(["bash", "-ec", text], capture_output=True, check=True, timeout=60).stdout


def reconstructions_shown(opened: Any) -> list[str]:
    found = opened.page.locator(".card figure:nth-of-type(2) img").all()
    return [image.get_attribute("src").partition(",")[2] for image in found]


def test_what_was_seen_can_be_had_with_curl(opened: Any) -> None:
    answer = run_curl(recipe(opened, "seen-code", "curl"))
    embedded, end = json.JSONDecoder().raw_decode(answer.decode())
    seen = json.loads(answer.decode()[end:])
    assert len(embedded["embeddings"]) == len(embedded["variances"]) == 3
    assert [each["image"] for each in seen["reconstructions"]] == reconstructions_shown(opened)


@pytest.mark.parametrize("place", ["seen-code", "alike-code", "between-code", "along-code"])
def test_every_recipe_in_python_runs(place: str, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = recipe(opened, place, "Python")
    exec(compile(code, "recipe.py", "exec"), names := dict[str, Any]())  # noqa: S102
    names["server"].close()
    if place == "alike-code":
        matrix = json.loads(capsys.readouterr().out)
        found = [cell.inner_text() for cell in opened.page.locator("#matrix tbody tr:first-child td").all()[1:]]
        assert found == [f"{100 * value:.0f} %" for value in matrix[0][1:]]
    elif place == "seen-code":
        printed = capsys.readouterr().out
        assert all(image in printed for image in reconstructions_shown(opened))
    else:
        assert Path("seen.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("place", ["between-code", "along-code"])
def test_a_point_of_a_walk_can_be_had_with_curl(place: str, opened: Any) -> None:
    run_curl(recipe(opened, place, "curl"))
    assert Path("seen.png").read_bytes().startswith(b"\x89PNG")


def test_similarities_can_be_had_with_curl_as_they_were_asked_for(opened: Any) -> None:
    with opened.page.expect_response("**/similarity*"):
        opened.page.get_by_label("Chance before looking").select_option("1 in 100")
    opened.page.wait_for_function("() => document.querySelector('#alike-code code').textContent.includes('prior=0.01')")
    answer = json.loads(run_curl(recipe(opened, "alike-code", "curl")))
    found = [cell.inner_text() for cell in opened.page.locator("#matrix tbody tr:first-child td").all()[1:]]
    wanted = answer["similarity"]["probability_same"][0][1:]
    assert found == [f"{100 * value:.0f} %" for value in wanted]
    assert os.environ.get("SIMVAE_API_KEY") is None
    assert "Authorization" not in recipe(opened, "alike-code", "curl")


def test_where_the_browser_forbids_copying_the_text_is_selected_instead(opened: Any) -> None:
    opened.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    section = opened.page.locator("#seen-code")
    section.locator("summary").click()
    button = section.get_by_role("button", name="Copy the curl commands")
    button.click()
    assert button.inner_text() == "Press Ctrl+C"
    wanted = section.locator("code").first.inner_text()
    assert opened.page.evaluate("getSelection().toString()").strip() == wanted.strip()
