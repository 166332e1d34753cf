"""Forgives clients of others that leave closing their connections to the garbage collector."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"))


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Within a test, where that is forgiven, and not at the end of all, where nothing is."""
    yield
    gc.collect()
