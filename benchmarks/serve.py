"""How fast images become embeddings over HTTP, beside the servers people would take instead.

    python benchmarks/serve.py                                        every target, three rounds
    python benchmarks/serve.py --targets 'simvae, 1 worker' triton --workloads mlp28 --rounds 1 --seconds 2
    python benchmarks/serve.py --kinds one --sweep                    latency at shares of each target's peak, too

One run, the same bundle, images and load generator (wrk, closed loop) for all. Every embedding of every target is
compared with ONNX Runtime's own before anything is timed. Targets take turns, and each round measures two ceilings
beside them: decoding and ONNX Runtime without HTTP on all cores, and a uvicorn that does nothing. Prints medians of the
rounds, and their ratio to the ceiling of the same round; `--out` keeps every number. Needs `wrk` (a Debian package).
Bulk requests are sent in every form that a target has. `--sweep` offers single images in an open loop, at shares of
the most that the target answered in the closed loop of the same round.
"""

import argparse
import functools
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
from serving.ceiling import measure
from serving.cells import CEILING, KINDS, Cell, tables
from serving.forms import Rows
from serving.load import check, prepare_load
from serving.process import memory_bytes
from serving.started import started
from serving.sweep import Point, sweep, sweep_tables
from serving.targets import BARE, ONE, TARGETS, TENSOR, Target
from serving.workload import WORKLOADS, Workload, prepare

from training.run_directory import code_version

ROOT = Path(__file__).resolve().parents[1]


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns 1 if an answer was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(target.name for target in TARGETS))
    parser.add_argument("--targets", nargs="+", default=names, metavar="NAME", help=", ".join(map(repr, names)))
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--sweep", action="store_true", help="open loop at shares of the peak; needs the kind one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of every stretch, after one of a second")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "serve", help="bundles, images, environments")
    parser.add_argument("--out", type=Path, help="a JSON file for every number")
    options = parser.parse_args(words)
    unknown = set(options.targets) - set(names)
    if unknown:
        raise SystemExit(f"expected targets among {names}, found {sorted(unknown)}")
    if options.sweep and ONE not in options.kinds:
        raise SystemExit(
            f"expected --sweep with the kind {ONE!r}, whose peak it takes shares of; found {options.kinds}"
        )
    if shutil.which("wrk") is None:
        raise SystemExit("expected wrk on the PATH, found none; apt-get install wrk")
    found: list[Cell | Point] = []
    for name in options.workloads:
        workload = prepare(name, options.folder)
        for number in range(options.rounds):
            for part in measure_round(workload, number, options):
                found.append(part)
                print(part.line, flush=True)
    cells = [part for part in found if isinstance(part, Cell)]
    points = [part for part in found if isinstance(part, Point)]
    print(tables(cells))
    print(sweep_tables(points))
    if options.out:
        content = {"code_version": code_version(), "cells": [*map(asdict, cells)], "sweep": [*map(asdict, points)]}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(part.bad for part in found))


def measure_round(workload: Workload, number: int, options: argparse.Namespace) -> Iterator[Cell | Point]:
    """The ceilings, then every target after the other."""
    images = workload.files[0].parent

    @functools.cache
    def ceiling(decode: bool) -> float:
        return measure(workload.bundle, images, 32, options.seconds, decode=decode)

    for name in options.kinds:
        kind = KINDS[name]
        for connections in kind.connections:
            rate = ceiling(kind.form != TENSOR)
            yield Cell(workload.name, number, CEILING, name, connections, rate, 0.0, 0.0, 0, 0.0)
    for target in (BARE, *TARGETS):
        if target is BARE or target.name in options.targets:
            yield from measure_target(target, workload, number, options)


def measure_target(
    target: Target, workload: Workload, number: int, options: argparse.Namespace
) -> Iterator[Cell | Point]:
    """Starts a server, compares its answers, and times it with every kind of request that it takes."""
    expected = embeddings(workload)
    forms = target.forms(workload.manifest.embedding.dim)
    with started(target, workload, options.folder) as server:
        for name in options.kinds:
            kind = KINDS[name]
            if kind.form not in forms or kind.images > target.most_images:
                continue
            load = prepare_load(workload, forms[kind.form], kind.images, server.scratch / name)
            if target is not BARE:
                check(load, expected, server.port)
            peak_per_s = 0.0
            for connections in kind.connections:
                load.run(server.port, connections, 1.0)
                asked = load.run(server.port, connections, options.seconds)
                peak_per_s = max(peak_per_s, asked.images_per_s)
                yield Cell(
                    workload.name, number, target.name, name, connections, asked.images_per_s, asked.p50_ms,
                    asked.p99_ms, asked.bad, memory_bytes(server.process) / 2**20,
                )  # fmt: skip
            if options.sweep and name == ONE:
                place = (workload.name, number, target.name)
                yield from sweep(load.requests(name), server.port, peak_per_s, options.seconds, place)


def embeddings(workload: Workload) -> Rows:
    """ONNX Runtime's own answer for every image, one at a time."""
    session = onnxruntime.InferenceSession(
        workload.bundle / workload.manifest.encoders[0].file, providers=["CPUExecutionProvider"]
    )
    rows = [session.run(["mean"], {"images": image[None]})[0] for image in workload.pixels()]
    found: Rows = np.concatenate(rows)
    return found


if __name__ == "__main__":
    sys.exit(main())
