"""Whether the service stays as it is: two million requests of every kind, as many as a small service has in a day.

    python benchmarks/soak.py
    python benchmarks/soak.py --requests 20000 --workers 2

A closed loop sends the mixture of `serving/mixture.py`: all routes, forms and sizes, mistakes, and clients that leave.
The status of every answer is compared with what is right for its request. Memory (proportional set size), descriptors
and threads of the service are read between laps, when nobody is connected; the first laps are to warm up. Prints
Markdown tables and every target that was missed; the exit status is 1 if one was.
"""

import argparse
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.mixture import mixture
from serving.open_loop import AT_ONCE, Arrival, drive
from serving.process import Footprint, footprint
from serving.request import Answer, Request
from serving.started import Server, started
from serving.targets import service
from serving.workload import WORKLOADS, Workload, prepare

ROOT = Path(__file__).resolve().parents[1]
LAPS, WARM_LAPS, COMPARED_LAPS = 20, 4, 4
MEMORY_GROWTH = 0.02
SETTINGS = {"SIMVAE_QUEUE_ITEMS": "8192"}
"""Room for all connections at once with the largest request: a full queue is not what is looked at here."""
_PAUSE_S, _REST_S = 0.2, 20.0

Tally = Counter[tuple[str, int, bool]]
"""Answers by kind of request, status, and whether it was right."""


@dataclass(frozen=True)
class Lap:
    """The service after a part of the requests.

    Attributes:
        requests: Sent since the start.
        per_s: Of this lap.
        footprint: With nobody connected.
    """

    requests: int
    per_s: float
    footprint: Footprint


@dataclass(frozen=True)
class Findings:
    """All of one run.

    Attributes:
        laps: The first `WARM_LAPS` are to warm up.
        tally: Of all answers.
    """

    laps: tuple[Lap, ...]
    tally: Tally


def main(words: Sequence[str] | None = None) -> int:
    """Sends, prints, and returns 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workload", default="mlp28", choices=list(WORKLOADS))
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "serve", help="bundles, images, logs")
    options = parser.parse_args(words)
    if options.requests < LAPS:
        raise SystemExit(f"expected --requests of at least {LAPS}, one a lap; found {options.requests}")
    workload = prepare(options.workload, options.folder)
    with started(service(options.workers), workload, options.folder, SETTINGS) as server:
        found = measure(workload, server, options.requests, options.connections)
    print(report(found))
    texts = missed(found)
    print("\n" + ("\n".join(f"Missed: {text}." for text in texts) or "Every target was met."))
    return int(bool(texts))


def measure(workload: Workload, server: Server, requests: int, connections: int) -> Findings:
    """Sends the mixture again and again.

    Args:
        workload: What is served, and the images.
        server: Freshly started.
        requests: In all.
        connections: At a time.
    """
    endless, tally = itertools.cycle(mixture(workload)), Tally()
    laps: list[Lap] = []
    for number in range(LAPS):
        until = requests * (number + 1) // LAPS
        count = until - (laps[-1].requests if laps else 0)
        start_s = time.monotonic()
        _send(server.port, itertools.islice(endless, count), connections, tally)
        per_s = count / (time.monotonic() - start_s)
        laps.append(Lap(until, per_s, at_rest(server.process)))
        print(describe(laps[-1]), flush=True)
    return Findings(tuple(laps), tally)


def at_rest(process: subprocess.Popen[bytes]) -> Footprint:
    """The footprint once descriptors are no longer fewer than a moment before: the server sees clients leave later."""
    end_s, found = time.monotonic() + _REST_S, footprint(process)
    while time.monotonic() < end_s:
        time.sleep(_PAUSE_S)
        before, found = found, footprint(process)
        if found.descriptors >= before.descriptors:
            break
    return found


def missed(found: Findings) -> list[str]:
    """A sentence for every target that was missed: the laps after warm-up are compared with the last ones."""
    warm = _most(found.laps[WARM_LAPS : WARM_LAPS + COMPARED_LAPS])
    end = _most(found.laps[-COMPARED_LAPS:])
    wrong = {(kind, status): count for (kind, status, right), count in found.tally.items() if not right}
    texts = [f"{kind}: found status {status}, {count} times" for (kind, status), count in sorted(wrong.items())]
    growth = end.memory_bytes / warm.memory_bytes - 1
    if growth >= MEMORY_GROWTH:
        texts.append(f"memory: expected growth under {MEMORY_GROWTH:.0%} after warm-up, found {growth:.1%}")
    if end.descriptors > warm.descriptors:
        texts.append(f"descriptors: expected {warm.descriptors} as after warm-up, found {end.descriptors}")
    if end.threads > warm.threads:
        texts.append(f"threads: expected {warm.threads} as after warm-up, found {end.threads}")
    return texts


def _most(laps: Sequence[Lap]) -> Footprint:
    """The most of each in a few laps: at rest the allocator has given back more of its memory or less."""
    held = [lap.footprint for lap in laps]
    return Footprint(
        max(one.memory_bytes for one in held), max(one.descriptors for one in held), max(one.threads for one in held)
    )


def report(found: Findings) -> str:
    """Markdown: the laps, then the answers by kind of request."""
    lines = ["", "| requests | requests/s | MiB | descriptors | threads |", "|---:" * 5 + "|"]
    for lap in found.laps:
        held = lap.footprint
        row = (
            f"{lap.requests:,}",
            f"{lap.per_s:,.0f}",
            f"{held.memory_bytes / 2**20:.1f}",
            held.descriptors,
            held.threads,
        )
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines += ["", "| kind | requests | statuses | wrong |", "|---|---:|---|---:|"]
    for kind in sorted({kind for kind, _, _ in found.tally}):
        mine = {(status, right): count for (name, status, right), count in found.tally.items() if name == kind}
        statuses = ", ".join(f"{status}: {count:,}" for (status, _), count in sorted(mine.items()))
        wrong = sum(count for (_, right), count in mine.items() if not right)
        lines.append(f"| {kind} | {sum(mine.values()):,} | {statuses} | {wrong:,} |")
    return "\n".join(lines)


def describe(lap: Lap) -> str:
    """A line as it comes."""
    held = lap.footprint
    return (
        f"{lap.requests:>10,} requests  {lap.per_s:>7,.0f}/s  {held.memory_bytes / 2**20:7.1f} MiB  "
        f"{held.descriptors} descriptors  {held.threads} threads"
    )


def _send(port: int, requests: Iterable[Request], connections: int, tally: Tally) -> None:
    def count(answer: Answer) -> None:
        tally[answer.request.kind, answer.status, answer.status in answer.request.expected] += 1

    drive(port, (Arrival(AT_ONCE, request) for request in requests), connections, count)


if __name__ == "__main__":
    sys.exit(main())
