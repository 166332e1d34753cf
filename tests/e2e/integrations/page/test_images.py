"""Images come in by every way, and each is shown with what the server says of it, or with why it was refused."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SAMPLES = Path(__file__).parents[4] / "service/page/samples"
BROKEN = b"\x89PNG\r\n\x1a\n and then nothing"
CARRY = """([type, target, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const event = type === "drop"
    ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
  document.querySelector(target).dispatchEvent(event);
}"""


def titles(page: Any) -> list[str]:
    return [title.text_content() for title in page.locator(".card h3").all()]


def test_each_sample_is_shown_beside_what_the_server_saw_in_it(visit: Callable[..., Any]) -> None:
    opened = visit()
    opened.use_samples()
    names = titles(opened.page)
    assert sorted(names) == sorted(file.name for file in SAMPLES.glob("*.png"))
    files = [("image", (SAMPLES / name).read_bytes()) for name in names]
    expected = opened.client.post("/reconstruct", files=files).json()["reconstructions"]
    for card, wanted in zip(opened.page.locator(".card").all(), expected, strict=True):
        seen = card.locator("figure").nth(1).locator("img")
        assert seen.get_attribute("src") == f"data:image/png;base64,{wanted['image']}"
        typicality, uncertainty = card.get_by_role("meter").all()
        assert typicality.get_attribute("aria-valuenow") == str(round(100 * wanted["typicality"]))
        assert 0 < int(uncertainty.get_attribute("aria-valuenow")) < 50
    smiley = opened.page.locator(".card", has_text="smiley.png")
    assert "strange" in smiley.get_by_role("meter", name="Typicality").get_attribute("aria-valuetext")


def test_uncertainty_is_the_mean_posterior_deviation_as_a_share_of_the_prior(
    visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit()
    opened.add({"boot.png": sample("ankle-boot-1")})
    answer = opened.client.post("/embed", content=sample("ankle-boot-1"), params={"variance": True}).json()
    product = 1.0
    for variance in answer["variances"][0]:  # the prior of the shipped model has variance 1
        product *= variance ** (0.5 / answer["dim"])
    shown = opened.page.get_by_role("meter", name="Uncertainty").get_attribute("aria-valuenow")
    assert int(shown) == pytest.approx(100 * product, abs=0.5001)


def test_a_bad_image_has_the_servers_own_sentence_beside_it_and_harms_no_other(
    visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit()
    images = {"dress.png": sample("dress"), "broken.png": BROKEN, "notes.txt": b"no image at all"}
    opened.add(images)
    assert titles(opened.page) == list(images)
    for name in ("broken.png", "notes.txt"):
        detail = opened.client.post("/embed", content=images[name]).json()["detail"]
        assert opened.page.locator(".card", has_text=name).get_by_role("alert").text_content() == detail
    assert opened.page.locator(".card", has_text="dress.png").get_by_role("meter").count() == 2
    assert opened.page.locator("#status").text_content() == "1 of 3 images seen."


def test_images_can_be_dropped_anywhere_and_pasted(visit: Callable[..., Any], sample: Callable[[str], bytes]) -> None:
    opened = visit()
    content = base64.b64encode(sample("handbag-1")).decode()
    opened.page.evaluate(CARRY, ["drop", "#drop", "bag.png", content])
    opened.page.evaluate(CARRY, ["drop", "footer", "again.png", content])
    opened.page.evaluate(CARRY, ["paste", "body", "image.png", content])
    opened.page.wait_for_function("() => document.querySelectorAll('.card').length === 3")
    opened.settle()
    assert titles(opened.page) == ["bag.png", "again.png", "pasted-1.png"]
    assert opened.page.locator(".meter").count() == 6


def test_the_same_image_can_be_picked_twice_and_each_removed_alone(
    visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit()
    for _ in range(2):
        opened.add({"boot.png": sample("ankle-boot-1")})
    assert opened.page.locator("#matrix td[class^=level]").count() == 2
    opened.page.get_by_role("button", name="Remove boot.png").first.click()
    assert titles(opened.page) == ["boot.png"]
    assert opened.page.locator(":focus").get_attribute("aria-label") == "Remove boot.png"
    assert not opened.page.locator("#alike").is_visible()
    opened.page.click("#clear")
    assert not opened.page.locator("#seen").is_visible()
    assert not opened.page.locator("#walk").is_visible()


def test_what_is_too_much_for_one_request_is_sent_in_several(
    visit: Callable[..., Any], serve: Callable[..., Any], shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMVAE_MAX_ITEMS", "6")
    with serve(shipped) as client:
        opened = visit(client)
        opened.page.click("#all-samples")
        opened.page.wait_for_function("() => document.querySelectorAll('.card .meter').length === 24")
        opened.page.wait_for_selector("#alike-problem:not(:empty)")
        detail = opened.page.locator("#alike-problem").text_content()
        assert detail == "The request has 12 items; at most 6 are accepted, so send several."
        assert opened.faults
        assert all("413" in fault for fault in opened.faults)  # which a browser always mentions
        opened.faults.clear()
        opened.page.close()  # before the server ends


def test_more_than_the_page_can_show_is_left_out_and_said(
    visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit()
    opened.add({f"{number}.png": sample("dress") for number in range(50)})
    assert "2 were left out" in opened.page.locator("#notice").text_content()
    assert opened.page.locator(".card").count() == 48


def test_a_busy_server_is_asked_again_and_one_that_is_gone_is_said_to_be(
    visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit()
    refused: list[str] = []

    def refuse_once(route: Any) -> None:
        if route.request.url in refused:
            route.fallback()
        else:
            refused.append(route.request.url)
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "Busy."})

    opened.page.route("**/embed?*", refuse_once)
    opened.add({"boot.png": sample("ankle-boot-1")})
    assert len(refused) == 1
    assert opened.page.locator(".meter").count() == 2
    opened.page.route("**/embed?*", lambda route: route.abort())
    opened.add({"dress.png": sample("dress")})
    alert = opened.page.locator(".card", has_text="dress.png").get_by_role("alert")
    assert alert.text_content() == "The server cannot be reached; look whether it still runs, and try again."
    assert all("429" in fault or "ERR_FAILED" in fault for fault in opened.faults)
    opened.faults.clear()


@pytest.fixture
def tiny_client(serve: Callable[..., Any], tiny_models: Path) -> Any:
    with serve(tiny_models, "--default-model", "tiny") as client:
        yield client


def test_one_of_several_models_can_be_picked_and_sees_everything_anew(
    tiny_client: httpx.Client, visit: Callable[..., Any], sample: Callable[[str], bytes]
) -> None:
    opened = visit(tiny_client)
    opened.add({f"{name}.png": sample(name) for name in ("dress", "t-shirt")})
    for model in ("tiny-rgb@1", "tiny@1"):
        opened.page.get_by_label("Model", exact=True).select_option(model)
        wanted = opened.client.post("/reconstruct", params={"model": model}, content=sample("dress")).json()
        address = f"data:image/png;base64,{wanted['reconstructions'][0]['image']}"
        opened.page.wait_for_selector(f".card img[src='{address}']")
        opened.settle()
        assert f"model={model.replace('@', '%40')}" in opened.page.locator("#seen-code code").first.text_content()
