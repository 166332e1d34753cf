"""How fast `simvae_client` embeds a folder, beside wrk with 32 images a request.

    python benchmarks/client.py                                  both models, three rounds
    python benchmarks/client.py --workloads mlp28 --rounds 1 --seconds 2

One server, one worker; in each round wrk sends files in forms of 32 over 4 connections, and then `Client.embed_folder`,
`Client.embed` of bytes and `AsyncClient.embed_folder` embed the same images over and over, from files. Every embedding
is compared with ONNX Runtime's own. Prints medians of the rounds and their ratio to wrk's of the same round; ends with
status 1 when a folder is embedded at less than 70 % of it. Needs `wrk` (a Debian package).
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from serve import embeddings
from serving.forms import Rows
from serving.load import check, prepare_load
from serving.started import started
from serving.targets import FILES, service
from serving.workload import WORKLOADS, Workload, prepare

from simvae_client import AsyncClient, Client

ROOT = Path(__file__).resolve().parents[1]
IMAGES, CONNECTIONS = 32, 4
COPIES = 16
GOAL = 0.7
TOLERANCE = 1e-4
WRK, FOLDER = "wrk", "embed_folder"

Way = Callable[[str, Path, Sequence[bytes]], Rows]


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns 1 if the client is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of every stretch, after one of a second")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "serve", help="bundles and images")
    options = parser.parse_args(words)
    if shutil.which("wrk") is None:
        raise SystemExit("expected wrk on the PATH, found none; apt-get install wrk")
    reached = True
    for name in options.workloads:
        workload = prepare(name, options.folder)
        rounds = [dict(measure(workload, options)) for _ in range(options.rounds)]
        print(table(name, rounds))
        reached &= share(rounds, FOLDER) >= GOAL
    return 0 if reached else 1


def measure(workload: Workload, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """One round: images a second, by who asks."""
    target, expected = service(1), embeddings(workload)
    with started(target, workload, options.folder) as server:
        load = prepare_load(workload, target.forms(0)[FILES], IMAGES, server.scratch / "client")
        check(load, expected, server.port)
        load.run(server.port, CONNECTIONS, 1.0)
        yield WRK, load.run(server.port, CONNECTIONS, options.seconds).images_per_s
        folder = copies(workload, server.scratch / "folder")
        contents = workload.contents * COPIES
        for name, way in WAYS.items():
            yield name, rate(way, f"http://127.0.0.1:{server.port}", folder, contents, expected, options.seconds)


def rate(way: Way, url: str, folder: Path, contents: Sequence[bytes], expected: Rows, seconds: float) -> float:
    """Images a second, over whole passes that take at least so long together, after one that is not counted."""
    check_rows(way(url, folder, contents), expected)
    passes, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        way(url, folder, contents)
        passes += 1
    return passes * len(contents) / elapsed


def check_rows(rows: Rows, expected: Rows) -> None:
    """Raises SystemExit unless the rows are the expected ones, over and over."""
    difference = float(np.abs(rows.reshape(COPIES, *expected.shape) - expected).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"expected ONNX Runtime's embeddings, found a difference of {difference}")


def copies(workload: Workload, folder: Path) -> Path:
    """A folder that holds every image many times, once in each subfolder."""
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(COPIES):
        shutil.copytree(workload.files[0].parent, folder / f"{number:03}")
    return folder


def embed_folder(url: str, folder: Path, _contents: Sequence[bytes]) -> Rows:
    """From files."""
    with Client(url) as client:
        found: Rows = client.embed_folder(folder).embeddings.vectors
        return found


def embed_bytes(url: str, _folder: Path, contents: Sequence[bytes]) -> Rows:
    """From memory."""
    with Client(url) as client:
        found: Rows = client.embed(contents).vectors
        return found


def embed_folder_async(url: str, folder: Path, _contents: Sequence[bytes]) -> Rows:
    """From files, on an event loop."""

    async def ask() -> Rows:
        async with AsyncClient(url) as client:
            found: Rows = (await client.embed_folder(folder)).embeddings.vectors
            return found

    return asyncio.run(ask())


WAYS: dict[str, Way] = {FOLDER: embed_folder, "embed of bytes": embed_bytes, "async embed_folder": embed_folder_async}


def share(rounds: Sequence[dict[str, float]], name: str) -> float:
    """The median, over the rounds, of the ratio to wrk."""
    return statistics.median(found[name] / found[WRK] for found in rounds)


def table(workload: str, rounds: Sequence[dict[str, float]]) -> str:
    """Medians in Markdown."""
    lines = [f"\n{workload}, {len(rounds)} rounds\n", "| who asks | images/s | of wrk |", "|---|---:|---:|"]
    for name in rounds[0]:
        middle = statistics.median(found[name] for found in rounds)
        lines.append(f"| {name} | {middle:,.0f} | {share(rounds, name):.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
