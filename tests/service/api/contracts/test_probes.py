"""Health where TEI's and Weaviate's clients look for it."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/.well-known/ready", 204), ("/.well-known/live", 204)]
)
def test_a_ready_server_says_so_without_a_key(path: str, status: int, start: Callable[..., Any]) -> None:
    answer = start(api_key="secret").client.get(path)
    assert (answer.status_code, answer.content) == (status, b"")


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 503), ("/.well-known/ready", 503), ("/.well-known/live", 204)]
)
def test_a_server_that_drains_lives_but_is_not_ready(path: str, status: int, start: Callable[..., Any]) -> None:
    running = start()
    running.repository.begin_drain()
    assert running.client.get(path).status_code == status
    running.repository._draining = False
