"""What a stretch is said to have found is what its answers say."""

import math

import pytest
from serving.recording import Recording
from serving.request import BROKEN, Answer, Request

ONE, OTHER = Request("one", b"", images=2), Request("other", b"")


def answer(status: int, due_s: float, latency_s: float, retry_after_s: float | None = None, request: Request = ONE):
    return Answer(request, status, due_s, due_s + 0.001, due_s + latency_s, retry_after_s)


def test_rates_and_latencies_are_of_one_kind_after_the_first_tenth() -> None:
    answers = [answer(200, 0.5, 60.0)]  # while queues fill
    answers += [answer(200, 1.0 + 0.09 * number, 0.001 * number) for number in range(101) if 0.09 * number < 9]
    answers += [answer(200, 5.0, 0.5, request=OTHER)]
    found = Recording(answers, 10.0, 0.25).of("one")
    assert found.offered_per_s == pytest.approx(100 * 2 / 9)
    assert found.images_per_s == pytest.approx(99 * 2 / 9)  # the last one was due in time, but answered too late
    assert found.p50_ms == pytest.approx(49.5)
    assert found.p99_ms == pytest.approx(98.01)
    assert found.late_p99_ms == pytest.approx(1.0)
    assert (found.bad, found.refused, found.retry_after_s) == (0, 0.0, None)


def test_refusals_are_counted_apart_and_those_without_retry_after_are_bad() -> None:
    answers = [answer(200, 5, 1.0), answer(429, 5, 0.01, 2.0), answer(429, 5, 0.01, 7.0), answer(429, 5, 0.01)]
    found = Recording(answers, 10.0, 0.0).of("one")
    assert found.refused == 0.75
    assert found.retry_after_s == (2.0, 7.0)
    assert found.refused_p99_ms == pytest.approx(10.0)
    assert found.p99_ms == pytest.approx(1000.0)
    assert found.bad == 1


def test_whatever_is_neither_success_nor_refusal_is_bad_even_while_queues_fill() -> None:
    found = Recording([answer(BROKEN, 0.1, 0.0), answer(504, 5, 1.0), answer(200, 5, 1.0)], 10.0, 0.0).of("one")
    assert found.bad == 2
    assert found.statuses == {BROKEN: 1, 504: 1, 200: 1}


def test_nothing_is_known_of_what_was_never_asked() -> None:
    found = Recording([], 10.0, 0.0).of("one")
    assert (found.offered_per_s, found.images_per_s, found.bad) == (0.0, 0.0, 0)
    assert math.isnan(found.p99_ms)
