"""Makes a folder like somebody's photo collection, out of the photographs that scikit-learn and matplotlib ship.

    python tests/make_photos.py FOLDER --count 200

Crops of three photographs, one subfolder each, at mixed sizes and angles: JPEG and PNG, colour, grey, palette and
transparent, some stored sideways with an EXIF tag that says so. Beside them are what such folders also hold: a
truncated image, a text file called .jpg, notes and a hidden folder. Equal seeds give equal folders.
"""

import argparse
import math
import random
from pathlib import Path

import matplotlib as mpl
import sklearn
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

__all__ = ["UNREADABLE", "make_photos"]

UNREADABLE = ("temple/broken.jpg", "notes.jpg")
"""The files that look like images and are none; everything else with an image suffix can be read."""

_ORIENTATION_TAG = 0x0112
_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def make_photos(folder: Path, count: int = 200, seed: int = 0) -> None:
    """Writes `count` readable images and the two `UNREADABLE` files.

    Args:
        folder: Receives the subfolders `temple`, `flower` and `portrait`; made if missing.
        count: How many readable images.
        seed: Of every random choice.
    """
    rng = random.Random(seed)
    photographs = _photographs()
    surrounded = {name: _surround(photograph) for name, photograph in photographs.items()}
    for number in range(count):
        name = sorted(photographs)[number % len(photographs)]
        (folder / name).mkdir(parents=True, exist_ok=True)
        _save(_snapshot(photographs[name], surrounded[name], rng), folder / name / f"{number:04d}", number, rng)
    whole = min((folder / "temple").glob("*.jpg")).read_bytes()
    (folder / UNREADABLE[0]).write_bytes(whole[: len(whole) // 2])
    (folder / UNREADABLE[1]).write_text("Remember to sort these.\n")
    (folder / "readme.txt").write_text("Holidays.\n")
    (folder / ".thumbnails").mkdir(exist_ok=True)
    (folder / ".thumbnails" / "0000.jpg").write_bytes(whole)


def _photographs() -> dict[str, Image.Image]:
    shipped = Path(sklearn.__file__).parent / "datasets" / "images"
    files = {
        "temple": shipped / "china.jpg",
        "flower": shipped / "flower.jpg",
        "portrait": Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    }
    return {name: Image.open(file).convert("RGB") for name, file in files.items()}


def _snapshot(photograph: Image.Image, surrounded: Image.Image, rng: random.Random) -> Image.Image:
    """A crop that fills its frame, tilted by up to 15 degrees, at another size and in another light."""
    area = rng.uniform(0.2, 0.7) * photograph.width * photograph.height
    aspect = rng.choice((4 / 3, 3 / 4, 3 / 2, 2 / 3, 1))
    width = min(int(math.sqrt(area * aspect)), photograph.width)
    height = min(int(math.sqrt(area / aspect)), photograph.height)
    centre_x = photograph.width + rng.uniform(width / 2, photograph.width - width / 2)
    centre_y = photograph.height + rng.uniform(height / 2, photograph.height - height / 2)
    angle = math.radians(rng.uniform(-15, 15))
    cos, sin = math.cos(angle), math.sin(angle)
    to_source = (cos, sin, centre_x - (cos * width + sin * height) / 2,
                 -sin, cos, centre_y + (sin * width - cos * height) / 2)  # fmt: skip
    tilted = surrounded.transform((width, height), Image.Transform.AFFINE, to_source, Image.Resampling.BICUBIC)
    scale = rng.uniform(0.25, 1.1)
    size = (max(48, int(width * scale)), max(48, int(height * scale)))
    shot = tilted.resize(size, Image.Resampling.LANCZOS)
    shot = ImageEnhance.Brightness(shot).enhance(rng.uniform(0.7, 1.3))
    return ImageEnhance.Color(shot).enhance(rng.uniform(0.6, 1.3))


def _surround(photograph: Image.Image) -> Image.Image:
    """The photograph amid eight mirror images of itself, so that a tilted crop has no black corners."""
    width, height = photograph.size
    tiled = Image.new("RGB", (3 * width, 3 * height))
    for row in range(3):
        for column in range(3):
            tile = photograph if column == 1 else photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            tile = tile if row == 1 else tile.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
            tiled.paste(tile, (column * width, row * height))
    return tiled


def _save(image: Image.Image, stem: Path, number: int, rng: random.Random) -> None:
    """One in seven each: sideways JPEG, grey JPEG, PNG, palette PNG, transparent PNG; the rest are plain JPEG."""
    quality = rng.randint(70, 95)
    match number % 7:
        case 1:
            orientation = rng.choice(sorted(_STORED))
            exif = Image.Exif()
            exif[_ORIENTATION_TAG] = orientation
            image.transpose(_STORED[orientation]).save(stem.with_suffix(".jpg"), quality=quality, exif=exif)
        case 2:
            image.convert("L").save(stem.with_suffix(".jpeg"), quality=quality)
        case 3:
            image.save(stem.with_suffix(".png"))
        case 4:
            image.quantize(64).save(stem.with_suffix(".png"))
        case 5:
            image.putalpha(_vignette(image.size))
            image.save(stem.with_suffix(".png"))
        case _:
            image.save(stem.with_suffix(".jpg"), quality=quality)


def _vignette(size: tuple[int, int]) -> Image.Image:
    """Opaque in an ellipse, transparent in the corners."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(max(size) / 40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200, help="readable images (default: 200)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_photos(arguments.folder, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
