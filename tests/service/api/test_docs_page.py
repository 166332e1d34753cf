import re
from urllib.parse import urljoin

import httpx


def test_the_page_loads_nothing_from_elsewhere_and_all_it_loads_is_there(client: httpx.Client) -> None:
    page = client.get("/docs").raise_for_status().text
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page)
    addresses = [src or url for src, url in loaded]
    assert any(address.endswith(".js") for address in addresses)
    assert "openapi.json" in addresses
    assert "://" not in page
    for address in addresses:
        assert client.get(urljoin("/docs", address)).raise_for_status().content


def test_the_page_works_below_a_path_of_a_proxy(client: httpx.Client) -> None:
    """A proxy that shows the service at /simvae/ strips that path, so no address begins with a slash."""
    assert not re.findall(r"(?:src|href)=\"/|url: '/", client.get("/docs").text)
