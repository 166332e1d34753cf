"""Where several processes count together.

Imports nothing of prometheus_client, which looks for the folder once, when it is imported.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator

__all__ = ["METRICS_VARIABLE", "metrics_folder"]

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client is told of it."""


@contextlib.contextmanager
def metrics_folder() -> Iterator[None]:
    """A folder for what imports prometheus_client meanwhile, and for all processes started from it; then gone."""
    with tempfile.TemporaryDirectory(prefix="simvae-metrics-") as folder:
        os.environ[METRICS_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_VARIABLE]
