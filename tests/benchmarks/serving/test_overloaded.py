"""Every target can be missed, and a miss is told with what was expected and found."""

from dataclasses import replace

import pytest
from serving.overloaded import Beside, Findings, HangUp, Step, missed, report
from serving.recording import Stretch

CALM = Stretch(50, 50, 10, 20, 30, 0.0, float("nan"), None, 0, {200: 500}, 1.0)
FLOODED = Stretch(500, 95, 800, 1500, 1600, 0.8, 40.0, (1.0, 3.0), 0, {200: 950, 429: 4050}, 2.0)
STEPS = (Step(0.5, CALM, 0.1, 100.0), Step(5.0, FLOODED, 0.3, 103.0))
BESIDE = Beside(CALM, replace(CALM, p99_ms=39), FLOODED, 300.0)
GOOD = Findings("mlp28", 1, 2.0, 100.0, 100.0, STEPS, BESIDE, HangUp(60, 9, 0.1, 2, 3))


def calm(**changes: object) -> Findings:
    return replace(GOOD, steps=(replace(STEPS[0], stretch=replace(CALM, **changes)), STEPS[1]))


def flooded(**changes: object) -> Findings:
    return replace(GOOD, steps=(STEPS[0], replace(STEPS[1], stretch=replace(FLOODED, **changes))))


def beside(**changes: object) -> Findings:
    return replace(GOOD, beside=replace(GOOD.beside, beside=replace(CALM, **changes)))


def test_what_meets_every_target_misses_none() -> None:
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (flooded(images_per_s=89), "5 ×: expected 90 images/s at least, found 89"),
        (calm(images_per_s=44), "0.5 ×: expected 45 images/s at least, found 44"),
        (flooded(p99_ms=2001), "expected a p99 under the deadline of 2 s, found 2,001 ms"),
        (flooded(p99_ms=float("nan"), images_per_s=95, retry_after_s=None), "p99 under the deadline"),
        (flooded(bad=1, statuses={200: 1, 504: 1}), "expected only 200, and 429 with Retry-After, found {200: 1,"),
        (flooded(refused_p99_ms=101), "expected refusals within 100 ms, found a p99 of 101 ms"),
        (flooded(retry_after_s=(1.0, 30.0)), "expected Retry-After from 1 to 4 s, found 1 to 30 s"),
        (flooded(retry_after_s=(0.0, 1.0)), "expected Retry-After from 1 to 4 s, found 0 to 1 s"),
        (flooded(late_p99_ms=21), "expected a client at most 20 ms late, found 21 ms"),
        (replace(GOOD, memory_mib=90.0), "memory: expected growth of at most 5%, found 14%"),
        (beside(p99_ms=41), "expected p99 × 2 at most, found 2.05"),
        (beside(p99_ms=float("nan")), "expected p99 × 2 at most"),
        (beside(statuses={200: 9, 429: 1}), "expected 200 for all, found {200: 9, 429: 1}"),
        (replace(GOOD, hang_up=replace(GOOD.hang_up, clients=0)), "expected some to leave without an answer"),
        (replace(GOOD, hang_up=replace(GOOD.hang_up, settled_s=2.1)), "an empty queue within 2 s, found 2.1 s"),
        (replace(GOOD, hang_up=replace(GOOD.hang_up, after_ms=4.1)), "expected 2.0 ms as before, found 4.1 ms"),
    ],
)  # fmt: skip
def test_each_target_is_told_when_it_is_missed(found: Findings, words: str) -> None:
    (text,) = missed(found)
    assert text.startswith("mlp28, ")
    assert words in text


def test_the_report_is_markdown_with_every_figure() -> None:
    text = report(GOOD)
    assert "| 0.5 × | 50 | 50 | 50% | 10.0 | 20.0 | 0% | – | – | 0 | 1.0 | 10% | 100 |" in text
    assert "| 5 × | 500 | 95 | 95% | 800.0 | 1500.0 | 80% | 40.0 | 1–3 | 0 | 2.0 | 30% | 103 |" in text
    assert "| interactive, beside bulk | 50 | 50 | 10.0 | 39.0 | 30.0 | 0% | 0 |" in text
    assert "the p99 of interactive is 1.95 × what it is alone" in text
    assert "60 clients that leave at once: 9 requests dropped" in text
    for table in text.split("\n\n"):
        lines = table.strip().splitlines()
        assert len({line.count("|") for line in lines}) == 1
