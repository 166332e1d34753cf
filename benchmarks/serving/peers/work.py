"""The work that every peer does, by the same code: image bytes to pixels, a batch of pixels to embeddings.

Runs in environments that hold none of this project: numpy, Pillow and ONNX Runtime are enough. What `fit` does is what
the service does to images that are square already, which those of the benchmark are; every answer is checked.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


class Work:
    """A bundle's encoder.

    Args:
        bundle: The version folder; `SIMVAE_BENCH_BUNDLE` when absent.
        threads: Of one run.
    """

    def __init__(self, bundle=None, threads=1):
        folder = Path(bundle or os.environ["SIMVAE_BENCH_BUNDLE"])
        manifest = json.loads((folder / "manifest.json").read_text())
        spec = manifest["input"]
        self.size, self.mode = (spec["width"], spec["height"]), spec["colour_mode"]
        self.scaled_jpeg = spec.get("scaled_jpeg", False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = folder / manifest["encoders"][0]["file"]
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def decode(self, content):
        """One image's bytes to uint8 [H, W, C]."""
        image = Image.open(io.BytesIO(content))
        if self.scaled_jpeg:
            image.draft(None, (2 * max(self.size),) * 2)  # which does nothing to other formats
        image = image.convert(self.mode)
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def run(self, pixels):
        """A list of such arrays to float32 [N, D]."""
        return self.session.run(["mean"], {"images": np.stack(pixels)})[0]


def unpack(body):
    """The images of a body in which each follows its length, four bytes, little-endian."""
    images, start = [], 0
    while start < len(body):
        end = start + 4 + int.from_bytes(body[start : start + 4], "little")
        images.append(body[start + 4 : end])
        start = end
    return images
