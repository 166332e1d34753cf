"""A stretch of load, answer by answer, and what it says about each kind of request."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from serving.open_loop import Arrival, drive
from serving.request import OK, Answer

__all__ = ["BUSY", "Recording", "Stretch", "record"]

BUSY = 429
_RAMP = 0.1
"""Share of a stretch that is not counted, while queues fill."""


@dataclass(frozen=True)
class Stretch:
    """What became of the requests of one kind; nothing is known of latencies that nobody had, they are NaN.

    Attributes:
        offered_per_s: Images that were due in a second.
        images_per_s: Images of requests that were answered with 200.
        p50_ms: Of the requests answered with 200, from when they were due.
        p99_ms: Likewise.
        p999_ms: Likewise.
        refused: Share of the requests that were answered with 429.
        refused_p99_ms: Of their latency.
        retry_after_s: The least and the most that refusals told, if there were any.
        bad: Requests that ended in another way, or refusals without `Retry-After`.
        statuses: Of all requests, however they ended.
        late_p99_ms: How long after they were due requests were sent: what the client itself adds.
    """

    offered_per_s: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    refused: float
    refused_p99_ms: float
    retry_after_s: tuple[float, float] | None
    bad: int
    statuses: dict[int, int]
    late_p99_ms: float


@dataclass(frozen=True)
class Recording:
    """All answers of a stretch.

    Attributes:
        answers: In the order in which they came.
        seconds: During which requests were due.
        client_cpu: Share of one core that the client took.
    """

    answers: list[Answer]
    seconds: float
    client_cpu: float

    def of(self, kind: str) -> Stretch:
        """What one kind of request met after the first moments."""
        begin_s, counted_s = _RAMP * self.seconds, (1 - _RAMP) * self.seconds
        mine = [answer for answer in self.answers if answer.request.kind == kind]
        due = [answer for answer in mine if begin_s <= answer.due_s]
        done = [answer for answer in mine if answer.status == OK and begin_s <= answer.done_s <= self.seconds]
        p50_ms, p99_ms, p999_ms = _latency_ms([answer for answer in due if answer.status == OK], 50, 99, 99.9)
        refusals = [answer for answer in due if answer.status == BUSY]
        told = [answer.retry_after_s for answer in refusals if answer.retry_after_s is not None]
        odd = sum(answer.status not in (OK, BUSY) for answer in mine)
        lates = [answer.sent_s - answer.due_s for answer in due]
        return Stretch(
            offered_per_s=sum(answer.request.images for answer in due) / counted_s,
            images_per_s=sum(answer.request.images for answer in done) / counted_s,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            p999_ms=p999_ms,
            refused=len(refusals) / max(len(due), 1),
            refused_p99_ms=_latency_ms(refusals, 99)[0],
            retry_after_s=(min(told), max(told)) if told else None,
            bad=odd + len(refusals) - len(told),
            statuses=dict(Counter(answer.status for answer in mine)),
            late_p99_ms=1e3 * float(np.percentile(lates, 99)) if lates else np.nan,
        )


def record(port: int, arrivals: Iterable[Arrival], connections: int, seconds: float) -> Recording:
    """Drives a stretch of load and keeps every answer.

    Args:
        port: Of the server.
        arrivals: What is sent, and when.
        connections: The most at a time.
        seconds: During which the arrivals are due.
    """
    answers: list[Answer] = []
    start_s, cpu_s = time.monotonic(), time.process_time()
    drive(port, arrivals, connections, answers.append)
    return Recording(answers, seconds, (time.process_time() - cpu_s) / (time.monotonic() - start_s))


def _latency_ms(answers: list[Answer], *percentiles: float) -> list[float]:
    if not answers:
        return [np.nan] * len(percentiles)
    latencies = [answer.done_s - answer.due_s for answer in answers]
    return [1e3 * float(value) for value in np.percentile(latencies, percentiles)]
