"""What the closed loop found for each server, kind of request and number of connections, and its tables."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from serving.targets import FILES, JSON, LINES, ONE, TENSOR

__all__ = ["CEILING", "KINDS", "Cell", "Kind", "tables"]

CEILING = "ceiling"


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        form: What it holds; `targets` names them.
        images: In each request.
        connections: Numbers of them that it is tried with.
    """

    form: str
    images: int
    connections: tuple[int, ...] = (4,)


KINDS = {"one": Kind(ONE, 1, (1, 16, 64))} | {
    f"{form}-{images}": Kind(form, images) for form in (FILES, JSON, TENSOR, LINES) for images in (32, 256)
}


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

    @property
    def line(self) -> str:
        """As it comes."""
        return (
            f"round {self.round + 1}  {self.workload:<9} {self.kind:<11}{self.connections:>3}  {self.target:<24}"
            f"{self.images_per_s:>10,.0f} images/s  p50 {self.p50_ms:7.2f} ms  p99 {self.p99_ms:7.2f} ms  "
            f"bad {self.bad}"
        )


def tables(cells: list[Cell]) -> str:
    """Medians over the rounds, a Markdown table for each workload, kind of request and number of connections."""
    parts = []
    for place in dict.fromkeys(cell.place for cell in cells):
        workload, kind, connections = place
        here = [cell for cell in cells if cell.place == place]
        ceilings = {cell.round: cell.images_per_s for cell in here if cell.target == CEILING}
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
