"""Where several processes count together, as prometheus_client wants it. Does not import that: it looks once, then."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

__all__ = ["METRICS_DIR", "metrics_folder"]

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client knows of it, if that is set when it is imported."""


@contextlib.contextmanager
def metrics_folder() -> Iterator[None]:
    """A folder for what imports prometheus_client meanwhile, and for all processes started from it; then gone."""
    with tempfile.TemporaryDirectory(prefix="simvae-metrics-") as folder:
        os.environ[METRICS_DIR] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_DIR]
