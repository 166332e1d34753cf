"""Which vector store holds collections: what each costs, finds, and keeps when it is killed.

    pip install lancedb chromadb pymilvus milvus-lite qdrant-client
    python benchmarks/stores.py                    # 20,000 vectors of 64 dimensions, some minutes

Every store runs in processes of its own. Adding is done in batches of 100, as requests do it. Recall is against brute
force. For the last columns a process that adds is killed with SIGKILL, several times over one folder: what it had been
told is added must be there, and be found by a search with its own vector; and two processes add to one folder at once,
while a third keeps it open, which must find everything in the end. SIGKILL says nothing about a power failure.
"""

import argparse
import contextlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from installed import installed_mb
from vector_stores import PACKAGES, Store, open_store

BATCH, QUERIES, K, GROUPS = 100, 300, 10, 10
_ROUNDS, _ROUND_ITEMS, _SINGLES = 5, 2000, 50


def main(words: Sequence[str] | None = None) -> None:
    """Measures each store and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=list(PACKAGES), default=list(PACKAGES))
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--role", choices=list(ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default="0", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.role:
        ROLES[options.role](options)
        return
    rows = [row_of(name, options) for name in options.stores]
    print(f"{options.vectors:,} vectors of {options.dim} dimensions, numpy {np.__version__}\n")
    print("| | " + " | ".join(row["store"] for row in rows) + " |\n|---|" + "---|" * len(rows))
    for field in list(rows[0])[1:]:
        print(f"| {field} | " + " | ".join(str(row[field]) for row in rows) + " |")


def row_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one store."""
    with tempfile.TemporaryDirectory() as place:
        measured = json.loads(finished(start(name, options, "measure", Path(place) / "measured")))
        kept = killed(name, options, Path(place) / "killed")
        together = at_once(name, options, Path(place) / "shared")
    version = " + ".join(f"{package} {distribution(package).version}" for package in PACKAGES[name])
    cost = {"store": version, "MB installed beside the service's own packages": round(installed_mb(PACKAGES[name]))}
    return cost | measured | kept | together


def measure(options: argparse.Namespace) -> None:
    """In a process of its own: adds, searches, and prints what was found as JSON."""
    name, vectors, queries = options.stores[0], *data(options.vectors, options.dim)
    began, before = time.perf_counter(), memory_mb()
    store = open_store(name, options.folder, options.dim)
    opened_s, opened_mb = time.perf_counter() - began, memory_mb()
    add_s = timed(lambda: list(fill_by_batch(store, vectors, "0")))
    single = [timed(lambda: store.add(["0-0"], vectors[:1], [0])) for _ in range(_SINGLES)]
    store.settle()
    groups = np.arange(len(vectors)) % GROUPS
    everywhere = search(store, vectors, queries, None, np.arange(len(vectors)))
    in_group = search(store, vectors, queries, 3, np.flatnonzero(groups == 3))
    found = {
        "s to import and open": f"{opened_s:.1f}",
        "MB of memory to import and open": round(opened_mb - before),
        "MB at most, adding and searching": round(memory_mb() - before),
        "vectors added a second": f"{len(vectors) / add_s:,.0f}",
        "ms to replace one item": f"{1000 * float(np.median(single)):.1f}",
        "queries a second": f"{everywhere[0]:,.0f}",
        "recall@10": f"{everywhere[1]:.3f}",
        "queries a second, filtered to a tenth": f"{in_group[0]:,.0f}",
        "recall@10, filtered": f"{in_group[1]:.3f}",
        "MB on disk": round(sum(file.stat().st_size for file in options.folder.rglob("*") if file.is_file()) / 2**20),
    }
    print(json.dumps(found))


def search(
    store: Store, vectors: np.ndarray, queries: np.ndarray, group: int | None, rows: np.ndarray
) -> tuple[float, float]:
    """Queries a second and recall, against brute force over the rows that the filter leaves."""
    squares = (vectors[rows] ** 2).sum(1)
    nearest = [set(rows[np.argsort(squares - 2 * vectors[rows] @ query)[:K]]) for query in queries]
    began = time.perf_counter()
    found = [store.search(query, K, group) for query in queries]
    seconds = time.perf_counter() - began
    hits = sum(
        len(right & {int(name.split("-")[1]) for name in ids}) for right, ids in zip(nearest, found, strict=True)
    )
    return len(queries) / seconds, hits / (K * len(queries))


def killed(name: str, options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Kills a process that adds, again and again, and counts what it had acknowledged and is not there."""
    promised, opened, seen = set[str](), 0, Seen([], 0.0)
    for attempt in range(_ROUNDS):
        process = start(name, options, "add", folder, str(attempt))
        acknowledged = acknowledgements(process, stop_after=random.Random(attempt).randint(2, 8))  # noqa: S311
        time.sleep(0.02 * attempt)  # in the middle of another batch, at another place each time
        process.send_signal(signal.SIGKILL)
        acknowledged += [line for line in process.communicate()[0].splitlines() if line.endswith(".")]
        for at in (int(line.strip(".")) for line in acknowledged):
            promised |= {f"{attempt}-{number}" for number in range(at, at + BATCH)}
        reader = start(name, options, "look", folder)
        seen = Seen.read(finished(reader))
        opened += reader.returncode == 0
    lost = len(promised - set(seen.ids))
    text = f"opens {opened} times, {lost} of {len(promised):,} items lost, {seen.found:.0%} found"
    return {f"killed {_ROUNDS} times while adding": text}


def at_once(name: str, options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Two processes add to one folder, a third has it open all the while, and a fourth looks afterwards."""
    finished(start(name, options, "look", folder))
    witness = start(name, options, "witness", folder)
    acknowledgements(witness, stop_after=1)
    writers = [start(name, options, "add", folder, prefix) for prefix in ("0", "1")]
    for writer in writers:
        finished(writer)
    well = sum(writer.returncode == 0 for writer in writers)
    meanwhile = Seen.read((witness.communicate("look\n")[0].splitlines() or [""])[-1])
    later = Seen.read(finished(start(name, options, "look", folder)))
    return {
        "two processes add at once": f"{well} of 2 succeed, {len(later.ids):,} of {2 * _ROUND_ITEMS:,} items there, "
        f"{later.found:.0%} found",
        "a third that had it open finds of them": f"{meanwhile.found:.0%}",
    }


@dataclass(frozen=True)
class Seen:
    """What a process sees of a store: all ids, and the share of a sample of them that a search finds."""

    ids: list[str]
    found: float

    @classmethod
    def read(cls, line: str) -> "Seen":
        """From what it printed; nothing if it failed."""
        return cls(**json.loads(line)) if line.startswith("{") else cls([], 0.0)

    @classmethod
    def of(cls, store: Store, dim: int) -> "Seen":
        """Looks."""
        vectors, _ = data(_ROUND_ITEMS, dim)
        ids = sorted(store.ids())
        sample = ids[:: max(1, len(ids) // 200)]
        found = [name in store.search(vectors[int(name.split("-")[1])], K, None) for name in sample]
        return cls(ids, float(np.mean(found)) if found else 0.0)


def look(options: argparse.Namespace) -> None:
    """In a process of its own: prints what it sees."""
    print(json.dumps(asdict(Seen.of(open_store(options.stores[0], options.folder, options.dim), options.dim))))


def witness(options: argparse.Namespace) -> None:
    """In a process of its own: opens, searches once, and prints what it sees once it is told to look again."""
    store = open_store(options.stores[0], options.folder, options.dim)
    with contextlib.suppress(Exception):  # some stores refuse to search nothing
        store.search(np.zeros(options.dim, np.float32), K, None)
    print("open", flush=True)
    sys.stdin.readline()
    vectors, _ = data(_ROUND_ITEMS, options.dim)
    names = [f"{number % 2}-{number}" for number in range(0, _ROUND_ITEMS, 9)]
    found = [name in store.search(vectors[int(name.split("-")[1])], K, None) for name in names]
    print(json.dumps(asdict(Seen(names, float(np.mean(found))))))


def add(options: argparse.Namespace) -> None:
    """In a process of its own: adds batch by batch, and prints where each began once it is acknowledged."""
    vectors, _ = data(_ROUND_ITEMS, options.dim)
    store = open_store(options.stores[0], options.folder, options.dim)
    for at in fill_by_batch(store, vectors, options.prefix):
        print(f"{at}.", flush=True)


ROLES = {"measure": measure, "add": add, "look": look, "witness": witness}


def fill_by_batch(store: Store, vectors: np.ndarray, prefix: str) -> Iterator[int]:
    """Adds them, and says after each batch where it began."""
    for at in range(0, len(vectors), BATCH):
        numbers = range(at, min(at + BATCH, len(vectors)))
        store.add([f"{prefix}-{n}" for n in numbers], vectors[at : at + BATCH], [n % GROUPS for n in numbers])
        yield at


def data(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in a hundred clusters, as embeddings of classes are, and queries from the same."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, dim))
    points = centres[rng.integers(100, size=count + QUERIES)] + 0.5 * rng.normal(size=(count + QUERIES, dim))
    return points[:count].astype(np.float32), points[count:].astype(np.float32)


def start(name: str, options: argparse.Namespace, role: str, folder: Path, prefix: str = "0") -> subprocess.Popen[str]:
    """This script, in another process."""
    words = ["--stores", name, "--role", role, "--folder", str(folder), "--prefix", prefix]
    words += ["--vectors", str(options.vectors), "--dim", str(options.dim)]
    # what it writes to stderr is shown to whoever runs this
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, __file__, *words], stdin=pipe, stdout=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """What it printed last, once it has ended."""
    lines = process.communicate()[0].splitlines()
    return lines[-1] if lines else ""


def acknowledgements(process: subprocess.Popen[str], stop_after: int) -> list[str]:
    """The first lines of a process that adds."""
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    return [line.strip() for _, line in zip(range(stop_after), process.stdout, strict=False)]


def timed(work: Any) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def memory_mb() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
