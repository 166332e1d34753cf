"""For keyboards, screen readers, phones, and both colour schemes."""

from collections.abc import Callable
from typing import Any

import pytest

# Of every text that can be seen: WCAG 2's contrast with the nearest background that is painted.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((value) => linear(value / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const left = ".unseen, .skip, option, .itself";
  return [...document.body.querySelectorAll("*")]
    .filter((element) => own(element) && element.checkVisibility() && !element.closest(left))
    .map((element) => {
      const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [element.textContent.trim().slice(0, 40), contrast];
    });
}"""

# What a screen reader would find nameless, doubled, or out of order.
FAULTS = """() => {
  const faults = [];
  const text = (id) => document.getElementById(id)?.textContent.trim();
  const name = (element) =>
    element.getAttribute("aria-label") ||
    (element.getAttribute("aria-labelledby") || "").split(" ").map(text).join(" ").trim() ||
    [...(element.labels || [])].map((label) => label.textContent.trim()).join(" ") ||
    element.textContent.trim() ||
    [...element.querySelectorAll("img")].map((image) => image.alt).join(" ").trim();
  const start = (element) => element.outerHTML.slice(0, 80);
  const named = "button, a, select, input, summary, section, nav, form, [role=meter], [role=region]";
  for (const element of document.querySelectorAll(named)) if (!name(element)) faults.push(`no name: ${start(element)}`);
  for (const image of document.images) if (!image.hasAttribute("alt")) faults.push(`no alt: ${start(image)}`);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`two of #${id}`);
  for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]"))
    for (const attribute of ["aria-labelledby", "aria-describedby", "for"])
      for (const id of (element.getAttribute(attribute) || "").split(" ").filter(Boolean))
        if (!ids.includes(id)) faults.push(`${attribute}=${id} leads nowhere`);
  let before = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!heading.checkVisibility()) continue;
    const level = Number(heading.tagName[1]);
    if (level > before + 1) faults.push(`${heading.tagName} after H${before}: ${heading.textContent}`);
    before = level;
  }
  for (const [landmark, count] of [["h1", 1], ["main", 1], ["header", 1], ["footer", 1]])
    if (document.querySelectorAll(landmark).length !== count) faults.push(`not ${count} ${landmark}`);
  return faults;
}"""


@pytest.fixture
def full(visit: Callable[..., Any], sample: Callable[[str], bytes]) -> Callable[..., Any]:
    """The page with everything on it: all samples, a refusal, and every fold open."""

    def enter(**options: Any) -> Any:
        opened = visit(reduced_motion="reduce", **options)
        opened.use_samples()
        opened.add({"no-image.txt": b"no image"})
        opened.page.wait_for_function("() => document.querySelectorAll('#film img').length === 9")
        for fold in opened.page.locator("summary").all():
            fold.click()
        return opened

    return enter


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_both_colour_schemes(scheme: str, full: Callable[..., Any]) -> None:
    opened = full(color_scheme=scheme)
    contrasts = opened.page.evaluate(CONTRASTS)
    assert len(contrasts) > 150
    assert [(text, contrast) for text, contrast in contrasts if contrast < 4.5] == []
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(19, 20, 18)") == (scheme == "dark")


def test_everything_has_a_name_and_stands_in_order(full: Callable[..., Any]) -> None:
    opened = full()
    assert opened.page.evaluate(FAULTS) == []
    assert opened.page.evaluate("document.documentElement.lang") == "en"


def test_the_page_can_be_used_without_a_mouse(visit: Callable[..., Any]) -> None:
    opened = visit()
    page = opened.page
    page.on("filechooser", lambda _: None)  # so that the browser has been told to report it long before it opens
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the images"
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("id") == "add"
    with page.expect_file_chooser():
        page.keyboard.press("Space")
    for number in (1, 2):
        page.get_by_role("button", name="Use all of them").focus()
        for _ in range(number):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#matrix tbody tr').length === 2")
    page.get_by_label("Position between the two images").focus()
    before = page.locator("#between-picture").get_attribute("src")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.locator("#between").input_value() == "60"
    page.wait_for_function("src => document.getElementById('between-picture').src !== src", arg=before or "")
    outline = page.locator("#between").evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"


def test_on_a_phone_nothing_is_wider_than_the_screen_and_everything_can_be_tapped(full: Callable[..., Any]) -> None:
    opened = full(viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input:not(.unseen), summary, label.primary")]
          .filter((element) => element.checkVisibility())
          .map((element) => [element.outerHTML.slice(0, 60), element.getBoundingClientRect()])
          .map(([what, box]) => [what, Math.min(box.width, box.height)])"""
    )
    assert len(sizes) > 40
    assert [what for what, size in sizes if size < 24] == []  # WCAG 2.2, target size
    page.get_by_role("button", name="Go to 100 %").tap()
    assert page.locator("#between").input_value() == "100"


def test_what_happens_is_announced(visit: Callable[..., Any], sample: Callable[[str], bytes]) -> None:
    opened = visit()
    opened.add({"dress.png": sample("dress")})
    assert opened.page.get_by_role("status").first.text_content() == "1 of 1 images seen."
