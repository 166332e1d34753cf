"""The files of the playground: all there, of this server alone. What they do is tested in a browser (tests/e2e)."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "service/page"
FILES = sorted(file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file())


def test_the_first_address_a_person_opens_is_the_page(client: httpx.Client) -> None:
    for headers in ({}, {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}):
        answer = client.get("/", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
    assert client.head("/").status_code == 200


def test_a_client_that_wants_json_is_led_to_the_description_of_the_api(client: httpx.Client) -> None:
    answer = client.get("/", headers={"Accept": "application/json"}, follow_redirects=True)
    assert answer.json()["openapi"]
    assert client.put("/", json={}).status_code == 405


def test_everything_the_page_loads_is_there_and_nothing_comes_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/").text
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {"page/main.js", "page/base.css", "docs"} <= set(addresses)
    for address in addresses:
        assert not re.match(r"/|\w+:", address), f"{address}: below a path of a proxy only a relative address works"
        assert client.get(urljoin("/", address)).status_code == 200, address
    for script in FOLDER.glob("*.js"):
        for module in re.findall(r'^import .* from "(.+)";$', script.read_text(), re.MULTILINE):
            assert (FOLDER / module).is_file(), f"{script.name}: {module} is not there"


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/samples/smiley.png"])
def test_nothing_but_the_server_itself_may_be_loaded_or_run(path: str, client: httpx.Client) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy.pop("img-src") == "'self' blob: data:"
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"


def test_a_file_that_is_not_there_is_a_problem_like_any_other(client: httpx.Client) -> None:
    for name in ("none.js", "../routes/page.py", "%2e%2e/engine/engine.py"):
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:simvae:problem:unknown-route"


def test_every_file_of_the_page_is_part_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = {
        file.relative_to(FOLDER).as_posix()
        for pattern in project["tool"]["setuptools"]["package-data"]["service"]
        for file in (ROOT / "service").glob(pattern)
        if file.is_file() and FOLDER in file.parents
    }
    assert sorted(packed) == FILES


def test_the_samples_are_those_that_the_page_offers_under_their_licence(client: httpx.Client) -> None:
    offered = set(re.findall(r'^  \["([a-z0-9-]+)", "', (FOLDER / "intake.js").read_text(), re.MULTILINE))
    assert {f"{name}.png" for name in offered} == {file.name for file in FOLDER.glob("samples/*.png")}
    for name in offered:
        assert client.post("/embed", content=(FOLDER / f"samples/{name}.png").read_bytes()).status_code == 200
    assert "Zalando" in client.get("/page/samples/LICENSE").text
