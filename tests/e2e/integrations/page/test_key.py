"""A server with a key: it is asked for once, kept for this tab only, and never shown."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

KEY = "a-key-for-this-test"


@pytest.fixture
def locked(serve: Callable[..., Any], shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("SIMVAE_API_KEY", KEY)
    with serve(shipped) as client:
        yield client


def test_a_key_is_asked_for_refused_if_it_is_wrong_and_kept_in_the_tab(
    locked: httpx.Client, visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit(locked, ready="#key:not([hidden])")
    page = opened.page
    assert page.locator(":focus").get_attribute("id") == "key-field"
    page.get_by_label("API key", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-problem:not(:empty)")
    wrong = locked.get("/models", headers={"Authorization": "Bearer wrong"})
    assert page.get_by_role("alert").first.inner_text() == wrong.json()["detail"]
    page.get_by_label("API key", exact=True).fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    page.wait_for_selector("#model .facts")
    assert not page.locator("#key").is_visible()
    opened.add({"dress.png": sample("dress"), "boot.png": sample("ankle-boot-1")})
    assert page.locator(".meter").count() == 4
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]
    assert page.evaluate("localStorage.length + document.cookie.length") == 0
    assert KEY not in page.content()
    for code in page.locator("code").all():
        assert "SIMVAE_API_KEY" in code.text_content()
    page.reload()
    page.wait_for_selector("#model .facts")
    assert not page.locator("#key").is_visible()
    assert {"401" in fault for fault in opened.faults} == {True}  # which a browser always mentions
    opened.faults.clear()
