"""What an overloaded service did: the findings, the targets they are held to, and their tables."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from serving.recording import Stretch

__all__ = ["Beside", "Findings", "HangUp", "Step", "missed", "report"]

GOODPUT = 0.9
REFUSAL_MS = 100.0
MEMORY_GROWTH = 0.05
INTERACTIVE_RATIO = 2.0
LATE_MS = 20.0
SETTLED_S = 2.0
AFTERWARDS_RATIO = 2.0


@dataclass(frozen=True)
class Step:
    """One rate of the open loop.

    Attributes:
        share: Of the peak.
        stretch: What became of the requests.
        client_cpu: Share of one core that the client took.
        memory_mib: Of the service afterwards.
    """

    share: float
    stretch: Stretch
    client_cpu: float
    memory_mib: float


@dataclass(frozen=True)
class Beside:
    """Interactive requests alone, and beside a flood of bulk.

    Attributes:
        alone: Interactive requests.
        beside: The same at the same moments, with bulk.
        bulk: The bulk requests then.
        bulk_peak_per_s: Images a second of bulk alone, in the closed loop.
    """

    alone: Stretch
    beside: Stretch
    bulk: Stretch
    bulk_peak_per_s: float

    @property
    def ratio(self) -> float:
        """How many times the p99 is what it was alone."""
        return self.beside.p99_ms / self.alone.p99_ms


@dataclass(frozen=True)
class HangUp:
    """Clients that leave all at once, with their work in the queue.

    Attributes:
        clients: How many left without an answer.
        dropped: Requests that the service gave up because of them.
        settled_s: From then until its queue was empty.
        before_ms: Median latency of one client after the other, before.
        after_ms: The same once the queue was empty.
    """

    clients: int
    dropped: int
    settled_s: float
    before_ms: float
    after_ms: float


@dataclass(frozen=True)
class Findings:
    """All of one workload.

    Attributes:
        workload: Its name.
        images: Of each request of the steps.
        deadline_s: That the requests of the steps bring along.
        peak_per_s: Images a second in the closed loop.
        memory_mib: Before the steps, after an overload that is not counted.
        steps: In the order in which they came.
        beside: The two priorities.
        hang_up: Clients that leave.
    """

    workload: str
    images: int
    deadline_s: float
    peak_per_s: float
    memory_mib: float
    steps: tuple[Step, ...]
    beside: Beside
    hang_up: HangUp


def missed(found: Findings) -> list[str]:
    """A sentence for every target that was missed."""
    texts = [text for step in found.steps for text in _step_missed(step, found)]
    growth = found.steps[-1].memory_mib / found.memory_mib - 1
    if growth > MEMORY_GROWTH:
        texts.append(f"memory: expected growth of at most {MEMORY_GROWTH:.0%}, found {growth:.0%}")
    beside, gone = found.beside, found.hang_up
    if not beside.ratio <= INTERACTIVE_RATIO:
        texts.append(f"interactive beside bulk: expected p99 × {INTERACTIVE_RATIO:g} at most, found {beside.ratio:.2f}")
    if beside.alone.bad + beside.beside.bad + beside.beside.statuses.get(429, 0):
        texts.append(f"interactive beside bulk: expected 200 for all, found {beside.beside.statuses}")
    if not gone.clients:
        texts.append("clients that left: expected some to leave without an answer, found none; it says nothing")
    if gone.settled_s > SETTLED_S:
        texts.append(f"clients that left: expected an empty queue within {SETTLED_S:g} s, found {gone.settled_s:.1f} s")
    if not gone.after_ms <= AFTERWARDS_RATIO * gone.before_ms:
        texts.append(f"after clients left: expected {gone.before_ms:.1f} ms as before, found {gone.after_ms:.1f} ms")
    return [f"{found.workload}, {text}" for text in texts]


def _step_missed(step: Step, found: Findings) -> Iterator[str]:
    stretch, name = step.stretch, f"{step.share:g} ×"
    if stretch.late_p99_ms > LATE_MS:
        late = f"expected a client at most {LATE_MS:g} ms late, found {stretch.late_p99_ms:,.0f} ms"
        yield f"{name}: {late}: it has too little CPU, or all its connections wait for the server"
    expected = GOODPUT * min(step.share, 1.0) * found.peak_per_s
    if stretch.images_per_s < expected:
        yield f"{name}: expected {expected:,.0f} images/s at least, found {stretch.images_per_s:,.0f}"
    if not stretch.p99_ms <= 1e3 * found.deadline_s:
        yield f"{name}: expected a p99 under the deadline of {found.deadline_s:g} s, found {stretch.p99_ms:,.0f} ms"
    if stretch.bad:
        yield f"{name}: expected only 200, and 429 with Retry-After, found {stretch.statuses}"
    if stretch.refused_p99_ms > REFUSAL_MS:
        yield f"{name}: expected refusals within {REFUSAL_MS:g} ms, found a p99 of {stretch.refused_p99_ms:,.0f} ms"
    if stretch.retry_after_s:
        least, most = stretch.retry_after_s
        honest = 1 + 2 * stretch.p99_ms / 1e3
        if not 1 <= least <= most <= honest:
            yield f"{name}: expected Retry-After from 1 to {honest:.0f} s, found {least:g} to {most:g} s"


def report(found: Findings) -> str:
    """Markdown."""
    gone = found.hang_up
    hang_up = (
        f"{found.workload}, {gone.clients} clients that leave at once: {gone.dropped} requests dropped, queue empty "
        f"after {gone.settled_s:.2f} s, median latency {gone.before_ms:.1f} ms before and {gone.after_ms:.1f} ms after."
    )
    return f"\n{_steps_table(found)}\n\n{_beside_table(found)}\n\n{hang_up}"


def _steps_table(found: Findings) -> str:
    title = (
        f"{found.workload}, images in a request: {found.images}, deadline {found.deadline_s:g} s, "
        f"peak {found.peak_per_s:,.0f} images/s, {found.memory_mib:.0f} MiB before"
    )
    head = (
        "| load | offered images/s | answered images/s | of peak | p50 ms | p99 ms | refused | refusal p99 ms "
        "| Retry-After s | bad | client late p99 ms | client CPU | MiB after |"
    )
    rows = [_step_row(step, found.peak_per_s) for step in found.steps]
    return "\n".join([title, "", head, "|---:" * 13 + "|", *rows])


def _beside_table(found: Findings) -> str:
    beside = found.beside
    title = (
        f"{found.workload}, interactive at a quarter of its peak, bulk at 5 × its own of "
        f"{beside.bulk_peak_per_s:,.0f} images/s: the p99 of interactive is {beside.ratio:.2f} × what it is alone"
    )
    head = "| requests | offered images/s | answered images/s | p50 ms | p99 ms | p99.9 ms | refused | bad |"
    rows = [
        _beside_row("interactive, alone", beside.alone),
        _beside_row("interactive, beside bulk", beside.beside),
        _beside_row("bulk, beside it", beside.bulk),
    ]
    return "\n".join([title, "", head, "|---" + "|---:" * 7 + "|", *rows])


def _step_row(step: Step, peak_per_s: float) -> str:
    found = step.stretch
    told = "–".join(f"{value:g}" for value in dict.fromkeys(found.retry_after_s or ())) or "–"
    return (
        f"| {step.share:g} × | {found.offered_per_s:,.0f} | {found.images_per_s:,.0f} "
        f"| {found.images_per_s / peak_per_s:.0%} | {_ms(found.p50_ms)} | {_ms(found.p99_ms)} | {found.refused:.0%} "
        f"| {_ms(found.refused_p99_ms)} | {told} | {found.bad} | {_ms(found.late_p99_ms)} | {step.client_cpu:.0%} "
        f"| {step.memory_mib:.0f} |"
    )


def _beside_row(name: str, found: Stretch) -> str:
    return (
        f"| {name} | {found.offered_per_s:,.0f} | {found.images_per_s:,.0f} | {_ms(found.p50_ms)} "
        f"| {_ms(found.p99_ms)} | {_ms(found.p999_ms)} | {found.refused:.0%} | {found.bad} |"
    )


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"
