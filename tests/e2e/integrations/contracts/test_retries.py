"""Other people's clients come back by themselves when the server has no room, and then get their embeddings."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.documentation import EXAMPLES

MODELS = Path(__file__).parents[4] / "models"


@pytest.fixture
def server(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """Has memory for 4 KiB of requests, all of them together."""
    monkeypatch.setenv("SIMVAE_MAX_QUEUE_BYTES", "4096")
    with serve(MODELS) as client:
        yield client


def with_openai(url: str) -> Any:
    from openai import OpenAI  # noqa: PLC0415

    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=3) as client:
        return client.embeddings.create(model="fashion", input=EXAMPLES[0]).data[0].embedding


def with_cohere(url: str) -> Any:
    import cohere  # noqa: PLC0415

    client = cohere.ClientV2("any", base_url=url)
    image = f"data:image/png;base64,{EXAMPLES[0]}"
    return client.embed(model="fashion", images=[image], input_type="image").embeddings.float_[0]


@contextlib.contextmanager
def memory_taken(server: httpx.Client) -> Iterator[None]:
    """Sends most of a request that nearly fills the memory; until its end the server keeps what it has of it."""
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
    for _ in range(100):
        with socket.create_connection((server.base_url.host, server.base_url.port or 0)) as greedy:
            greedy.sendall(head + bytes(3990))
            time.sleep(0.1)  # if it is not read by now, asking takes the room from it, and it is refused itself
            if server.post("/embed", content=bytes(200)).status_code == 429:
                yield
                return
    pytest.fail("the memory could not be taken")


@pytest.mark.parametrize("ask", [with_openai, with_cohere])
def test_a_refused_client_comes_back(ask: Callable[[str], Any], server: httpx.Client) -> None:
    def refused() -> float:
        found = re.search(r'^simvae_rejected_total\{reason="busy"\} (\S+)', server.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    with ThreadPoolExecutor(1) as pool:
        with memory_taken(server):
            before, end = refused(), time.monotonic() + 20
            answer = pool.submit(ask, str(server.base_url).rstrip("/"))
            while refused() == before and not answer.done():
                assert time.monotonic() < end, "the client did not ask"
                time.sleep(0.05)
            assert not answer.done(), "the client was not refused, or gave up"
        assert len(answer.result(30)) == 64
