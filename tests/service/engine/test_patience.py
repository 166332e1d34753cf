"""When a batch waits for what is being decoded: while all CPUs are busy, for what can share it, and not for long."""

import time

import pytest

from service.engine.lane import Lane
from service.engine.patience import Patience

LANE, OTHER = Lane[int, int](list, 64), Lane[int, int](list, 64)


def waits(patience: Patience, *, since: float = 0.0, batch_s: float = 0.02) -> bool:
    return patience.left_s(LANE, time.perf_counter() - since, batch_s) > 0


@pytest.mark.parametrize(
    ("cpus", "runners", "decoders", "running", "decoding", "expected"),
    [
        (1, 1, 1, 0, 1, True),
        (1, 1, 1, 0, 0, False),
        (2, 2, 1, 0, 1, False),
        (2, 2, 1, 1, 1, True),
        (2, 2, 1, 1, 0, False),
        (16, 2, 8, 1, 7, False),
        (16, 2, 8, 1, 8, True),
        (16, 2, 8, 0, 100, False),
        (16, 2, 16, 0, 100, True),
    ],
)
def test_waits_only_while_all_cpus_have_work(
    cpus: int, runners: int, decoders: int, running: int, decoding: int, expected: bool
) -> None:
    patience = Patience(cpus, runners, decoders)
    for _ in range(running):
        patience.begins()
    patience.expect(LANE, decoding)
    assert waits(patience) == expected


def test_waits_no_longer_than_the_batch_takes_and_not_at_all_if_it_is_long_anyway() -> None:
    patience = Patience(1)
    patience.expect(LANE, 1)
    assert waits(patience, since=0.015)
    assert not waits(patience, since=0.021)
    assert not waits(patience, batch_s=0.031)


def test_waits_for_nothing_that_cannot_share_the_batch_or_never_comes() -> None:
    patience = Patience(1)
    patience.expect(OTHER, 1)
    assert not waits(patience)
    patience.expect(LANE, 2)
    patience.expect(LANE, -2)
    assert not waits(patience)
    assert (patience.expected(LANE), patience.expected(OTHER)) == (0, 1)


def test_those_who_were_answered_have_a_moment_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.patience._GRACE_S", 10)
    for items, seconds, expected in ((4, 0.02, True), (1, 0.02, False), (4, 0.001, False)):
        patience = Patience(1)
        patience.begins()
        assert not waits(patience)
        patience.ends(items, seconds)
        assert waits(patience) == expected


def test_where_batches_run_on_something_else_nothing_waits() -> None:
    patience = Patience()
    patience.expect(LANE, 1)
    patience.begins()
    patience.ends(4, 0.02)
    assert not waits(patience)
