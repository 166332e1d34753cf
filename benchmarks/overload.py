"""What the service does with more work than it can do, and who has to wait for it.

    python benchmarks/overload.py                          both workloads, twenty seconds a step
    python benchmarks/overload.py --quick                  the small model, two seconds a step

The closed loop finds the peak; then an open loop offers 0.5, 1, 2 and 5 times as much, each request with a deadline.
Then interactive requests at a quarter of the peak, alone and beside bulk at 5 times what bulk reaches alone; and
clients that all hang up with their work in the queue. Prints Markdown tables and every target that was missed, which
`serving/overloaded.py` lists; the exit status is 1 if one was. Client and server share the machine, so the tables say
how late the client was and how much of a core it took.
"""

import argparse
import heapq
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from serving.forms import Form
from serving.load import prepare_load
from serving.metrics import metric
from serving.open_loop import AT_ONCE, MOST_CONNECTIONS, Arrival, closed, drive, poisson
from serving.overloaded import Beside, Findings, HangUp, Step, missed, report
from serving.process import memory_bytes
from serving.recording import record
from serving.request import GAVE_UP, Answer, Request
from serving.started import Server, started
from serving.targets import FILES, ONE, service
from serving.workload import WORKLOADS, Workload, prepare

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.5, 1.0, 2.0, 5.0)
INTERACTIVE_SHARE, BULK_SHARE, BULK_IMAGES = 0.25, 5.0, 32
_CLOSED_CONNECTIONS = 64
_CLIENTS, _LEAVE_S, _SETTLE_S = 64, 0.05, 30.0


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), help="default: all, with --quick mlp28")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--images", type=int, default=1, help="of each request of the steps")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds that each request of the steps has")
    parser.add_argument("--seconds", type=float, help="of every stretch; default 20, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "serve", help="bundles, images, logs")
    options = parser.parse_args(words)
    seconds = options.seconds or (2.0 if options.quick else 20.0)
    texts = []
    for name in options.workloads or (["mlp28"] if options.quick else list(WORKLOADS)):
        workload = prepare(name, options.folder)
        with started(service(options.workers), workload, options.folder) as server:
            found = measure(workload, server, options.images, options.deadline, seconds)
        print(report(found), flush=True)
        texts += missed(found)
    print("\n" + ("\n".join(f"Missed: {text}." for text in texts) or "Every target was met."))
    return int(bool(texts))


def measure(workload: Workload, server: Server, images: int, deadline_s: float, seconds: float) -> Findings:
    """All that is measured of one workload.

    Args:
        workload: What is served, and the images.
        server: Freshly started.
        images: Of each request of the steps.
        deadline_s: That these requests bring along.
        seconds: Of every stretch.
    """
    requests = written(workload, server, "step", images, headers={"X-Request-Timeout": f"{deadline_s:g}"})
    peak_per_s = peak(server, requests, seconds)
    rate_per_s = peak_per_s / images
    record(server.port, poisson(requests, 2 * rate_per_s, seconds), MOST_CONNECTIONS, seconds)
    memory_mib = _memory_mib(server)
    steps = []
    for share in SHARES:
        found = record(server.port, poisson(requests, share * rate_per_s, seconds), MOST_CONNECTIONS, seconds)
        steps.append(Step(share, found.of("step"), found.client_cpu, _memory_mib(server)))
    beside = measure_beside(workload, server, seconds)
    hang_up = measure_hang_up(workload, server, min(seconds, 2.0))
    return Findings(workload.name, images, deadline_s, peak_per_s, memory_mib, tuple(steps), beside, hang_up)


def measure_beside(workload: Workload, server: Server, seconds: float) -> Beside:
    """Interactive requests alone, then the same at the same moments beside bulk."""
    interactive = written(workload, server, "interactive", 1)
    bulk = written(workload, server, "bulk", BULK_IMAGES, query="?priority=bulk")
    rate_per_s = INTERACTIVE_SHARE * peak(server, interactive, seconds)
    bulk_peak_per_s = peak(server, bulk, seconds)

    def arrivals() -> Sequence[Arrival]:
        return list(poisson(interactive, rate_per_s, seconds, seed=1))

    alone = record(server.port, arrivals(), MOST_CONNECTIONS, seconds)
    flood = poisson(bulk, BULK_SHARE * bulk_peak_per_s / BULK_IMAGES, seconds, seed=2)
    both = heapq.merge(arrivals(), flood, key=lambda arrival: arrival.due_s)
    together = record(server.port, both, MOST_CONNECTIONS, seconds)
    return Beside(alone.of("interactive"), together.of("interactive"), together.of("bulk"), bulk_peak_per_s)


def measure_hang_up(workload: Workload, server: Server, seconds: float) -> HangUp:
    """Clients fill the queue and leave; how soon it is empty, and how the next one fares."""
    one = written(workload, server, "one", 1)
    many = [replace(request, patience_s=_LEAVE_S) for request in written(workload, server, "many", BULK_IMAGES)]

    def median_ms() -> float:
        return record(server.port, closed(one, seconds), 1, seconds).of("one").p50_ms

    def dropped() -> float:
        return metric(server.port, "simvae_dropped_total", reason="client-gone")

    before_ms, dropped_before = median_ms(), dropped()
    answers: list[Answer] = []
    crowd = (Arrival(AT_ONCE, request) for request in itertools.islice(itertools.cycle(many), _CLIENTS))
    drive(server.port, crowd, _CLIENTS, answers.append)
    start_s = time.monotonic()
    while metric(server.port, "simvae_queue_items") and time.monotonic() - start_s < _SETTLE_S:
        time.sleep(0.01)
    settled_s = time.monotonic() - start_s
    after_ms = median_ms()
    left = sum(answer.status == GAVE_UP for answer in answers)
    return HangUp(left, round(dropped() - dropped_before), settled_s, before_ms, after_ms)


def peak(server: Server, requests: Sequence[Request], seconds: float) -> float:
    """Images a second in the closed loop.

    Raises:
        SystemExit: A request failed, so that there is nothing to measure.
    """
    kind = requests[0].kind
    connections = max(4, _CLOSED_CONNECTIONS // requests[0].images)
    found = record(server.port, closed(requests, seconds), connections, seconds).of(kind)
    if found.bad or not found.images_per_s:
        raise SystemExit(f"{kind} requests: expected status 200 for all, found {found.statuses}; the log may say why")
    return found.images_per_s


def written(
    workload: Workload, server: Server, kind: str, images: int, query: str = "", headers: dict[str, str] | None = None
) -> list[Request]:
    """Requests that hold all images of the workload: a lone image as it is, several as files of a form.

    Args:
        workload: Whose images.
        server: In whose scratch folder they are kept.
        kind: Their name.
        images: In each request.
        query: Behind the path.
        headers: Beside those of the form.
    """
    form: Form = service(1).forms(workload.manifest.embedding.dim)[ONE if images == 1 else FILES]
    form = replace(form, path=form.path + query, headers={**form.headers, **(headers or {})})
    return prepare_load(workload, form, images, server.scratch / kind).requests(kind)


def _memory_mib(server: Server) -> float:
    return memory_bytes(server.process) / 2**20


if __name__ == "__main__":
    sys.exit(main())
