"""How fast images become embeddings over HTTP, beside the servers people would take instead.

    python benchmarks/serve.py                                        every target, three rounds
    python benchmarks/serve.py --targets 'simvae, 1 worker' triton --workloads mlp28 --rounds 1 --seconds 2

One run, the same bundle, images and load generator (wrk, closed loop) for all. Every embedding of every target is
compared with ONNX Runtime's own before anything is timed. Targets take turns, and each round measures two ceilings
beside them: decoding and ONNX Runtime without HTTP on all cores, and a uvicorn that does nothing. Prints medians of the
rounds, and their ratio to the ceiling of the same round; `--out` keeps every number. Needs `wrk` (a Debian package).
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from serving.ceiling import measure
from serving.forms import Rows
from serving.load import check, prepare_load
from serving.process import free_port, memory_bytes, served
from serving.targets import BARE, TARGETS, Target, environment, variables
from serving.workload import WORKLOADS, Workload, prepare

from training.run_directory import code_version

ROOT = Path(__file__).resolve().parents[1]
IMAGES = {"one": 1, "many": 32, "tensor": 32}
CONNECTIONS = {"one": (1, 16, 64), "many": (4,), "tensor": (4,)}


@dataclass(frozen=True)
class Cell:
    """What one target did in one round with one kind of request and number of connections."""

    workload: str
    round: int
    target: str
    kind: str
    connections: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    bad: int
    memory_mib: float

    @property
    def place(self) -> tuple[str, str, int]:
        """Which table it stands in."""
        return self.workload, self.kind, self.connections


def main() -> int:
    """Measures, prints, and returns 1 if an answer was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(target.name for target in TARGETS))
    parser.add_argument("--targets", nargs="+", default=names, metavar="NAME", help=", ".join(map(repr, names)))
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--kinds", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of every stretch, after one of a second")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "serve", help="bundles, images, environments")
    parser.add_argument("--out", type=Path, help="a JSON file for every number")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("expected wrk on the PATH, found none; apt-get install wrk")
    unknown = set(options.targets) - set(names)
    if unknown:
        raise SystemExit(f"expected targets among {names}, found {sorted(unknown)}")
    cells = []
    for name in options.workloads:
        workload = prepare(name, options.folder)
        for number in range(options.rounds):
            for cell in measure_round(workload, number, options):
                cells.append(cell)
                print(describe(cell), flush=True)
    print(tables(cells))
    if options.out:
        content = {"code_version": code_version(), "cells": [asdict(cell) for cell in cells]}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(cell.bad for cell in cells))


def measure_round(workload: Workload, number: int, options: argparse.Namespace) -> Iterator[Cell]:
    """The ceilings, then every target after the other."""
    images = workload.files[0].parent
    for kind in options.kinds:
        rate = measure(workload.bundle, images, 32, options.seconds, decode=kind != "tensor")
        for connections in CONNECTIONS[kind]:
            yield Cell(workload.name, number, "ceiling", kind, connections, rate, 0.0, 0.0, 0, 0.0)
    for target in (BARE, *TARGETS):
        if target is BARE or target.name in options.targets:
            yield from measure_target(target, workload, number, options)


def measure_target(target: Target, workload: Workload, number: int, options: argparse.Namespace) -> Iterator[Cell]:
    """Starts a server, compares its answers, and times it."""
    env, port = environment(target, options.folder), free_port()
    scratch = options.folder / "scratch" / target.name.replace(" ", "-").replace(",", "") / workload.name
    scratch.mkdir(parents=True, exist_ok=True)
    command = target.command(env, scratch, workload, port)
    environ = {**os.environ, **variables(target, env), "SIMVAE_BENCH_BUNDLE": str(workload.bundle)}
    expected = embeddings(workload)
    with served(command, environ, port, target.ready, scratch / "log") as process:
        for kind, form in target.forms(workload.manifest.embedding.dim).items():
            if kind not in options.kinds:
                continue
            load = prepare_load(workload, form, IMAGES[kind], scratch / kind)
            if target is not BARE:
                check(load, expected, port)
            for connections in CONNECTIONS[kind]:
                load.run(port, connections, 1.0)
                asked = load.run(port, connections, options.seconds)
                yield Cell(
                    workload.name, number, target.name, kind, connections, asked.images_per_s, asked.p50_ms,
                    asked.p99_ms, asked.bad, memory_bytes(process) / 2**20,
                )  # fmt: skip


def embeddings(workload: Workload) -> Rows:
    """ONNX Runtime's own answer for every image, one at a time."""
    session = onnxruntime.InferenceSession(
        workload.bundle / workload.manifest.encoders[0].file, providers=["CPUExecutionProvider"]
    )
    rows = [session.run(["mean"], {"images": image[None]})[0] for image in workload.pixels()]
    found: Rows = np.concatenate(rows)
    return found


def describe(cell: Cell) -> str:
    """A line as it comes."""
    return (
        f"round {cell.round + 1}  {cell.workload:<9} {cell.kind:<7}{cell.connections:>3}  {cell.target:<24}"
        f"{cell.images_per_s:>10,.0f} images/s  p50 {cell.p50_ms:7.2f} ms  p99 {cell.p99_ms:7.2f} ms  bad {cell.bad}"
    )


def tables(cells: list[Cell]) -> str:
    """Medians over the rounds, a Markdown table for each workload, kind of request and number of connections."""
    parts = []
    for place in dict.fromkeys(cell.place for cell in cells):
        workload, kind, connections = place
        here = [cell for cell in cells if cell.place == place]
        ceilings = {cell.round: cell.images_per_s for cell in here if cell.target == "ceiling"}
        lines = [
            f"\n{workload}, {kind}, {connections} connections\n",
            "| target | images/s | of ceiling | p50 ms | p99 ms | MiB |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            _row([cell for cell in here if cell.target == target], ceilings)
            for target in dict.fromkeys(cell.target for cell in here)
        ]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _row(cells: list[Cell], ceilings: dict[int, float]) -> str:
    def middle(values: Iterator[float]) -> float:
        return statistics.median(values)

    share = middle(cell.images_per_s / ceilings[cell.round] for cell in cells)
    rate, p50, p99, memory = (
        middle(getattr(cell, name) for cell in cells) for name in ("images_per_s", "p50_ms", "p99_ms", "memory_mib")
    )
    return f"| {cells[0].target} | {rate:,.0f} | {share:.0%} | {p50:.1f} | {p99:.1f} | {memory:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
