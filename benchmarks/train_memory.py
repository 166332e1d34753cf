"""How much memory training takes on a folder of 100,000 images, beyond the page cache.

    python benchmarks/train_memory.py                     # one epoch of preset folder: minutes
    python benchmarks/train_memory.py --images 2000       # to see that it runs
    python benchmarks/train_memory.py --evaluate --set network.width=8

Draws the images, trains on them with the command a user would type, and adds up what its processes hold that the
system cannot take back: anonymous and shared memory, each page counted once. Decoded images are a memory-mapped file;
its pages are the page cache's, which gives way when memory is short. The status is 1 if the target is missed.
"""

import argparse
import colorsys
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.run_directory import code_version

IMAGES, SIZE_PX, FOLDERS = 100_000, 64, 10
TARGET_BYTES = 2 << 30
SAMPLE_S = 0.2
_CHUNK = 500


def main() -> int:
    """Draws, trains, prints, and returns 0 if every command stayed below the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES, help="how many to draw")
    parser.add_argument("--preset", default="folder")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as simvae-train takes it")
    parser.add_argument("--evaluate", action="store_true", help="measure simvae-evaluate as well")
    options = parser.parse_args()
    # Ending it from outside must end the command and remove the images, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="simvae-memory-") as folder:
        images, cache, run = (Path(folder) / name for name in ("images", "cache", "run"))
        print(f"drawing {options.images:,} images of {SIZE_PX} × {SIZE_PX} pixels …", flush=True)
        draw_images(images, options.images)
        overrides = [word for item in options.set for word in ("--set", item)]
        train = ["simvae-train", str(images), "--preset", options.preset, "--out", str(run), *overrides]
        commands = [[*train, "--epochs", str(options.epochs), "--cache-dir", str(cache)]]
        if options.evaluate:
            commands.append(["simvae-evaluate", str(run), "--cache-dir", str(cache)])
        peaks = [measure(command) for command in commands]
    print(f"\n{options.images:,} images, preset {options.preset} {' '.join(options.set)}; code {code_version()}")
    for command, peak in zip(commands, peaks, strict=True):
        verdict = "PASS" if peak.private_bytes <= TARGET_BYTES else "FAIL"
        print(
            f"  {command[0]:<16} peak {peak.private_bytes / 2**30:5.2f} GiB beyond the page cache, after "
            f"{peak.after_s:.0f} of {peak.seconds:.0f} s; target {TARGET_BYTES / 2**30:.0f} GiB: {verdict}   "
            f"(pages of files: at most {peak.file_bytes / 2**30:.2f} GiB)"
        )
    return 0 if all(peak.private_bytes <= TARGET_BYTES for peak in peaks) else 1


def draw_images(root: Path, count: int) -> None:
    """Writes JPEG files into ten subfolders; an ellipse of the subfolder's hue lies on a gradient, both at random."""
    for number in range(FOLDERS):
        (root / f"hue-{number}").mkdir(parents=True)
    chunks = [(root, start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    with Pool(initializer=signal.signal, initargs=(signal.SIGTERM, signal.SIG_DFL)) as pool:
        pool.starmap(_draw_chunk, chunks)


def _draw_chunk(root: Path, start: int, stop: int) -> None:
    for number in range(start, stop):
        rng = np.random.default_rng(number)
        hue = number % FOLDERS
        _draw(rng, hue / FOLDERS).save(root / f"hue-{hue}" / f"{number:06d}.jpg", quality=90)


def _draw(rng: np.random.Generator, hue: float) -> Image.Image:
    ramp = np.linspace(*rng.uniform(0, 255, 2), SIZE_PX)
    rows = np.multiply.outer(ramp, rng.uniform(0.3, 1, 3))[:, None]
    pixels = np.broadcast_to(rows, (SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    image = Image.fromarray(pixels if rng.random() < 0.5 else pixels.transpose(1, 0, 2).copy())
    left, top = rng.uniform(0, SIZE_PX / 2, 2)
    width, height = rng.uniform(SIZE_PX / 4, SIZE_PX / 2, 2)
    colour = colorsys.hsv_to_rgb(hue + rng.uniform(-0.03, 0.03), 0.8, rng.uniform(0.6, 1))
    ImageDraw.Draw(image).ellipse((left, top, left + width, top + height), fill=tuple(int(255 * c) for c in colour))
    return image


@dataclass
class Peak:
    """The most that was seen.

    Attributes:
        private_bytes: Anonymous and shared memory of all processes together.
        after_s: When that was.
        file_bytes: The most pages of mapped files, which are the page cache's.
        seconds: How long the command ran.
    """

    private_bytes: int = 0
    after_s: float = 0.0
    file_bytes: int = 0
    seconds: float = 0.0


def measure(command: list[str]) -> Peak:
    """Runs one of the project's commands and watches its memory.

    Raises:
        SystemExit: It failed.
    """
    print(f"$ {' '.join(command)}", flush=True)
    start, peak = time.perf_counter(), Peak()
    with subprocess.Popen([str(Path(sys.executable).parent / command[0]), *command[1:]]) as process:
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, ended, start, peak))
        watcher.start()
        try:
            status = process.wait()
        finally:
            process.terminate()  # nothing, unless this script is being ended
            ended.set()
            watcher.join()
    peak.seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command[0]} ended with status {status}.")
    return peak


def _watch(root: int, ended: threading.Event, start: float, peak: Peak) -> None:
    while not ended.wait(SAMPLE_S):
        sizes = [_sizes(process) for process in _tree(root)]
        private = sum(size["Pss_Anon"] + size["Pss_Shmem"] for size in sizes)
        if private > peak.private_bytes:
            peak.private_bytes, peak.after_s = private, time.perf_counter() - start
        peak.file_bytes = max(peak.file_bytes, sum(size["Pss_File"] for size in sizes))


def _tree(root: int) -> list[int]:
    """A process and all its descendants; those that end meanwhile are left out."""
    try:
        text = " ".join(file.read_text() for file in Path(f"/proc/{root}/task").glob("*/children"))
    except OSError:
        return []
    return [root, *(pid for child in text.split() for pid in _tree(int(child)))]


def _sizes(process: int) -> dict[str, int]:
    """Proportional set sizes in bytes: a page that n processes share counts as 1/n in each."""
    sizes = dict.fromkeys(("Pss_Anon", "Pss_Shmem", "Pss_File"), 0)
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended
        return sizes
    for line in lines:
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes


if __name__ == "__main__":
    sys.exit(main())
