"""How latency grows with load: the open loop at shares of what each server can do at most."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.open_loop import MOST_CONNECTIONS, poisson
from serving.recording import BUSY, record
from serving.request import Request

__all__ = ["SHARES", "Point", "sweep", "sweep_tables"]

SHARES = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Point:
    """What one target did in one round at one share of its peak.

    Attributes:
        workload: Its name.
        round: From 0.
        target: Its name.
        share: Of the peak.
        offered_per_s: Images that were due in a second.
        images_per_s: Answered with 200.
        p50_ms: Of those, from when they were due.
        p99_ms: Likewise.
        p999_ms: Likewise.
        late_p99_ms: What the client itself adds.
        bad: Requests that were not answered with 200.
    """

    workload: str
    round: int
    target: str
    share: float
    offered_per_s: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p99_ms: float
    bad: int

    @property
    def line(self) -> str:
        """As it comes."""
        return (
            f"round {self.round + 1}  {self.workload:<9} {self.share:>4.0%} of peak   {self.target:<24}"
            f"{self.images_per_s:>10,.0f} images/s  p50 {self.p50_ms:7.2f} ms  p99 {self.p99_ms:7.2f} ms  "
            f"p99.9 {self.p999_ms:7.2f} ms  bad {self.bad}"
        )


def sweep(
    requests: Sequence[Request], port: int, peak_per_s: float, seconds: float, place: tuple[str, int, str]
) -> Iterator[Point]:
    """A stretch at each share.

    Args:
        requests: Of one kind and one size, taken in turn.
        port: Of the server.
        peak_per_s: Images a second that it answered in the closed loop.
        seconds: Of each stretch.
        place: Workload, round and target, for the points.
    """
    kind, images = requests[0].kind, requests[0].images
    for share in SHARES:
        arrivals = poisson(requests, share * peak_per_s / images, seconds, seed=place[1])
        found = record(port, arrivals, MOST_CONNECTIONS, seconds).of(kind)
        bad = found.bad + found.statuses.get(BUSY, 0)
        yield Point(
            *place, share, found.offered_per_s, found.images_per_s, found.p50_ms, found.p99_ms, found.p999_ms,
            found.late_p99_ms, bad,
        )  # fmt: skip


def sweep_tables(points: list[Point]) -> str:
    """Medians over the rounds, a Markdown table for each workload and share."""
    parts = []
    for workload, share in dict.fromkeys((point.workload, point.share) for point in points):
        here = [point for point in points if (point.workload, point.share) == (workload, share)]
        lines = [
            f"\n{workload}, open loop, {share:.0%} of each target's own peak\n",
            "| target | offered images/s | p50 ms | p99 ms | p99.9 ms | client late p99 ms | bad |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for target in dict.fromkeys(point.target for point in here):
            rows = [point for point in here if point.target == target]
            offered, p50, p99, p999, late = (
                statistics.median(getattr(row, name) for row in rows)
                for name in ("offered_per_s", "p50_ms", "p99_ms", "p999_ms", "late_p99_ms")
            )
            bad = sum(row.bad for row in rows)
            lines.append(f"| {target} | {offered:,.0f} | {p50:.1f} | {p99:.1f} | {p999:.1f} | {late:.1f} | {bad} |")
        parts.append("\n".join(lines))
    return "\n".join(parts)
