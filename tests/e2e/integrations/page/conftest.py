"""The playground in a real browser, in front of the shipped model; whatever goes wrong in the page fails its test."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[4]
FLAGS = (
    "--no-sandbox",  # which a browser needs that root starts
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nothing else can be reached
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass
class Visit:
    """A page that is open.

    Attributes:
        page: Playwright's.
        client: Asks the same server without a browser.
        faults: What the browser complained of: errors, warnings, and requests to other servers.
    """

    page: Page
    client: httpx.Client
    faults: list[str] = field(default_factory=list)

    def use_samples(self) -> None:
        """Adds all samples and waits until every part of the page has shown them."""
        self.page.click("#all-samples")
        self.page.wait_for_function("() => document.querySelectorAll('.card').length === 12")
        self.settle()

    def add(self, images: dict[str, bytes]) -> None:
        """Picks files, by name, and waits for what becomes of them."""
        before = self.page.locator(".card").count()
        files = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in images.items()]
        self.page.set_input_files("#add", files)
        self.page.wait_for_function("count => document.querySelectorAll('.card').length > count", arg=before)
        self.settle()

    def settle(self) -> None:
        """Waits until every image was seen or refused, and compared."""
        self.page.wait_for_function(
            """() => {
              const cards = document.querySelectorAll(".card").length;
              const seen = document.querySelectorAll(".card .meter").length / 2;
              const bad = document.querySelectorAll(".card .problem").length;
              const rows = document.querySelectorAll("#matrix tbody tr").length;
              return cards && seen + bad === cards && (seen < 2 || rows === seen);
            }"""
        )


@pytest.fixture(scope="module")  # no longer: while it lives, no test can run an event loop of its own
def browser() -> Iterator[Browser]:
    found = os.environ.get("SIMVAE_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("No Chromium is here: install it (apt-get install chromium), or name one in SIMVAE_TEST_BROWSER.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The bundle that the repository ships."""
    return ROOT / "models/fashion/1"


@pytest.fixture(scope="session")
def sample() -> Callable[[str], bytes]:
    """The content of a sample image: `sample("dress")`."""
    return lambda name: (ROOT / f"service/page/samples/{name}.png").read_bytes()


@pytest.fixture(scope="session")
def client(
    serve: Callable[..., contextlib.AbstractContextManager[httpx.Client]], shipped: Path
) -> Iterator[httpx.Client]:
    """Of the server that most tests share."""
    with serve(shipped) as client:
        yield client


@pytest.fixture
def visit(browser: Browser, client: httpx.Client) -> Iterator[Callable[..., Visit]]:
    """Opens the page: `visit()`, or `visit(other_client, color_scheme="dark")` with options of the browser's context.

    At the end nothing may have been complained of, but for what the test took out of `faults`.
    """
    visits: list[Visit] = []
    with contextlib.ExitStack() as stack:

        def enter(to: httpx.Client = client, *, ready: str = "#model .facts", **options: Any) -> Visit:
            context = browser.new_context(base_url=str(to.base_url), **options)
            stack.callback(context.close)
            context.set_default_timeout(60_000)  # machines of CI may be busy
            found = Visit(context.new_page(), to)
            visits.append(found)
            _watch(found)
            found.page.goto("/")
            found.page.wait_for_selector(ready)
            return found

        yield enter
    for each in visits:
        assert each.faults == []


def _watch(visit: Visit) -> None:
    own = ("blob:", "data:", str(visit.client.base_url))
    visit.page.on(
        "request",
        lambda request: None if request.url.startswith(own) else visit.faults.append(f"asked {request.url}"),
    )
    visit.page.on("pageerror", lambda error: visit.faults.append(str(error)))
    visit.page.on(
        "console",
        lambda message: visit.faults.append(message.text) if message.type in {"error", "warning"} else None,
    )
