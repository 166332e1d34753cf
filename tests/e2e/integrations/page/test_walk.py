"""The walk through latent space shows what the server decodes, and asks it no more than it can show."""

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

MOVE = """([id, value]) => {
  const slider = document.getElementById(id);
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""
SHOWN = "([id, png]) => document.getElementById(id).src === `data:image/png;base64,${png}`"
NAMES = ("ankle-boot-1", "dress")


@pytest.fixture
def opened(visit: Callable[..., Any], sample: Callable[[str], bytes]) -> Any:
    opened = visit()
    opened.add({f"{name}.png": sample(name) for name in NAMES})
    return opened


@pytest.fixture
def ends(client: Any, sample: Callable[[str], bytes]) -> list[list[float]]:
    files = [("image", sample(name)) for name in NAMES]
    vectors: list[list[float]] = client.post("/embed", files=files).json()["embeddings"]
    return vectors


def decoded(opened: Any, *latents: list[float]) -> list[str]:
    images: list[str] = opened.client.post("/decode", json={"latents": latents}).json()["images"]
    return images


def between(ends: list[list[float]], share: float) -> list[float]:
    return [a + share * (b - a) for a, b in zip(*ends, strict=True)]


def test_the_slider_shows_the_point_between_two_images(opened: Any, ends: list[list[float]]) -> None:
    for percent in (50, 0, 35, 100):
        if percent != 50:
            opened.page.evaluate(MOVE, ["between", percent])
        (png,) = decoded(opened, between(ends, percent / 100))
        opened.page.wait_for_function(SHOWN, arg=["between-picture", png])
        text = f"{percent} % of the way from ankle-boot-1.png to dress.png"
        assert opened.page.get_by_role("slider", name="Position").get_attribute("aria-valuetext") == text
    seen = opened.page.locator(".card figure:nth-of-type(2) img").nth(1).get_attribute("src")
    assert opened.page.locator("#between-picture").get_attribute("src") == seen  # an end is its reconstruction


def test_images_that_come_one_after_the_other_become_the_two_ends(
    visit: Callable[..., Any], sample: Callable[[str], bytes], ends: list[list[float]]
) -> None:
    opened = visit()
    for name in NAMES:
        opened.add({f"{name}.png": sample(name)})
    (png,) = decoded(opened, between(ends, 0.5))
    opened.page.wait_for_function(SHOWN, arg=["between-picture", png])


def test_the_film_shows_the_whole_way_and_leads_there(opened: Any, ends: list[list[float]]) -> None:
    frames = opened.page.locator("#film img")
    opened.page.wait_for_function("() => document.querySelectorAll('#film img').length === 9")
    wanted = decoded(opened, *(between(ends, step / 8) for step in range(9)))
    assert [frame.get_attribute("src") for frame in frames.all()] == [f"data:image/png;base64,{png}" for png in wanted]
    opened.page.get_by_role("button", name="Go to 25 %").click()
    opened.page.wait_for_function(SHOWN, arg=["between-picture", wanted[2]])


def test_a_hand_that_is_quicker_than_the_server_overtakes_its_own_requests(
    opened: Any, ends: list[list[float]]
) -> None:
    asked: list[Any] = []
    overtaken: list[str] = []

    def slowly(route: Any) -> None:
        asked.append(route.request)
        time.sleep(0.15)
        route.fallback()

    opened.page.route(re.compile("/decode"), slowly)
    opened.page.on("requestfailed", lambda request: overtaken.append(request.url))
    for percent in range(101):
        opened.page.evaluate(MOVE, ["between", percent])
    (png,) = decoded(opened, ends[1])
    opened.page.wait_for_function(SHOWN, arg=["between-picture", png])
    opened.page.wait_for_timeout(600)  # a late answer to an earlier request would come now
    assert opened.page.evaluate(SHOWN, ["between-picture", png])
    assert len(asked) < 40
    assert overtaken
    assert opened.page.locator("#between-problem").inner_text() == ""


def test_each_dimension_that_varies_most_moves_the_picture(
    opened: Any, ends: list[list[float]], client: Any, sample: Callable[[str], bytes]
) -> None:
    files = [("image", sample(name)) for name in NAMES]
    variances = client.post("/embed", files=files, params={"variance": True}).json()["variances"]
    open_share = [sum(column) for column in zip(*variances, strict=True)]
    wanted = sorted(range(len(open_share)), key=lambda dimension: open_share[dimension])[:6]
    labels = opened.page.locator("#dimensions label").all_inner_texts()
    assert labels == [f"Dimension {dimension + 1}" for dimension in wanted]
    latent = list(ends[0])
    (start,) = decoded(opened, latent)
    opened.page.wait_for_function(SHOWN, arg=["along-picture", start])
    for dimension in wanted[:2]:
        latent[dimension] = -2.5
        opened.page.evaluate(MOVE, [f"dimension-{dimension}", -2.5])
    (moved,) = decoded(opened, latent)
    assert moved != start
    opened.page.wait_for_function(SHOWN, arg=["along-picture", moved])


def test_a_walk_may_start_in_the_middle_or_anywhere(opened: Any, ends: list[list[float]]) -> None:
    opened.page.get_by_label("Start at").select_option("the middle of all images")
    (middle,) = decoded(opened, [0.0] * len(ends[0]))
    opened.page.wait_for_function(SHOWN, arg=["along-picture", middle])
    pictures = {middle}
    for _ in range(2):
        with opened.page.expect_response("**/decode*") as response:
            opened.page.get_by_role("button", name="Draw at random").click()
        (latent,) = response.value.request.post_data_json["latents"]
        assert 0.5 < sum(value**2 for value in latent) / len(latent) < 2
        (png,) = decoded(opened, latent)
        opened.page.wait_for_function(SHOWN, arg=["along-picture", png])
        assert base64.b64decode(png).startswith(b"\x89PNG")
        pictures.add(png)
    assert len(pictures) == 3


def test_what_the_server_refuses_is_said_beside_the_picture(opened: Any) -> None:
    problem = {"detail": "The server holds as many request bytes as it may; try again in a moment."}
    opened.page.route(re.compile("/decode"), lambda route: route.fulfill(status=500, json=problem))
    opened.page.evaluate(MOVE, ["between", 10])
    opened.page.wait_for_selector("#between-problem:not(:empty)")
    assert opened.page.locator("#between-problem").inner_text() == problem["detail"]
    opened.page.unroute_all()
    opened.page.evaluate(MOVE, ["between", 20])
    opened.page.wait_for_function("() => !document.getElementById('between-problem').textContent")
    assert all("500" in fault for fault in opened.faults)
    opened.faults.clear()
