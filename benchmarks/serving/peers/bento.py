"""BentoML with adaptive batching.

bentoml serve bento:Embedder
"""

from pathlib import Path

import bentoml
import numpy as np
from work import Work


@bentoml.service(
    workers=2, threads=1, traffic={"timeout": 60}, metrics={"enabled": False}, logging={"access": {"enabled": False}}
)
class Embedder:
    """Images to embeddings."""

    def __init__(self):
        self.work = Work()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def embed(self, images: list[Path]) -> np.ndarray:
        """Files of a multipart body to a list of rows."""
        return self.work.run([self.work.decode(image.read_bytes()) for image in images])
