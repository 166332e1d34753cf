"""What is served: two models that stand for two kinds of load, and images in files, as clients have them.

    mlp28      grey 28 × 28, the paper's MLP (2.9 million multiply-adds): overhead is everything
    resnet64   colour 64 × 64, convolutions of ResNet-18's size (0.15 billion multiply-adds), from 256 × 256 JPEGs

Both are trained for a moment and exported by the commands a user would type; their weights do not matter here.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from service.engine.images import DecodeLimits, Pixels, decode_image, encode_png
from service.engine.manifest import Manifest, Precision
from training.datasets.sources import open_source

__all__ = ["WORKLOADS", "Workload", "prepare"]

IMAGES = 256
_WIDTH = 76
"""Of the first convolution: 25.6 thousand multiply-adds times its square."""


@dataclass(frozen=True)
class Workload:
    """A model with images to send to it.

    Attributes:
        name: `mlp28` or `resnet64`.
        bundle: Its version folder.
        files: Encoded images, 256 of them.
    """

    name: str
    bundle: Path
    files: tuple[Path, ...]

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return Manifest.model_validate_json((self.bundle / "manifest.json").read_text(encoding="utf-8"))

    @property
    def contents(self) -> list[bytes]:
        """The files' bytes."""
        return [file.read_bytes() for file in self.files]

    def pixels(self) -> Pixels:
        """What the model sees of them, uint8 of shape [256, H, W, C]."""
        spec = self.manifest.input
        return np.stack([decode_image(content, spec, DecodeLimits()) for content in self.contents])


def prepare(name: str, folder: Path, precisions: Sequence[Precision] = ()) -> Workload:
    """Makes a workload, or takes the one that was made before.

    Args:
        name: Which.
        folder: Everything is kept below it.
        precisions: Of further encoders, for a workload that is made.
    """
    images, bundle = folder / "images" / name, folder / "models" / name / "1"
    if not bundle.exists():
        images.mkdir(parents=True, exist_ok=True)
        arguments = WORKLOADS[name](images)
        _run("simvae-train", *arguments, "--out", str(folder / "runs" / name))
        further = [word for precision in precisions for word in ("--precision", precision)]
        _run("simvae-export", str(folder / "runs" / name), str(bundle.parent), *further)
    return Workload(name, bundle, tuple(sorted(images.iterdir())))


def _small_grey(folder: Path) -> list[str]:
    for number, pixels in enumerate(open_source("fashion-mnist-sample").train.images[:IMAGES]):
        (folder / f"{number:03}.png").write_bytes(encode_png(pixels))
    return ["fashion-mnist-sample", "--preset", "paper", "--epochs", "5"]


def _photographs(folder: Path) -> list[str]:
    """Smooth colour with some noise: a JPEG of about 15 kB, as a photograph of this size."""
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:03}.jpg", quality=85)
    return [str(folder), "--preset", "folder", "--epochs", "1", "--set", f"network.width={_WIDTH}"]


def _run(command: str, *arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / command, *arguments], check=True, stdout=subprocess.DEVNULL)


WORKLOADS = {"mlp28": _small_grey, "resnet64": _photographs}
