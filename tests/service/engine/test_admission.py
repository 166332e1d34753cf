"""Room is reserved whole or refused, always given back, and the advice when to retry comes from measurement."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.admission import Admission
from service.engine.errors import NotReadyError, QueueFullError, RequestTooLargeError

SIZES = st.tuples(st.integers(0, 8), st.integers(0, 80))


@given(st.lists(st.one_of(SIZES, st.none()), max_size=40))
def test_reservations_are_whole_and_never_pass_the_limits(steps: list[tuple[int, int] | None]) -> None:
    admission = Admission(5, 50)
    held: list[tuple[int, int]] = []
    for step in steps:
        if step is None:
            if held:
                admission.release(*held.pop())
            continue
        before = admission.items, admission.bytes
        fits = before[0] + step[0] <= 5 and before[1] + step[1] <= 50
        try:
            admission.reserve(*step)
            assert fits
            held.append(step)
        except RequestTooLargeError:
            assert step[0] > 5 or step[1] > 50
        except QueueFullError:
            assert not fits
        assert (admission.items, admission.bytes) == (sum(n for n, _ in held), sum(b for _, b in held))


def test_before_any_measurement_the_advice_is_a_moment_and_not_zero() -> None:
    admission = Admission(100, 1)
    admission.reserve(100, 0)
    with pytest.raises(QueueFullError, match="100 of 100 images wait, 1 more do not fit") as caught:
        admission.reserve(1, 0)
    assert 0.1 < caught.value.retry_after_s < 10


def test_the_advice_follows_the_measured_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    admission = Admission(40, 1)
    admission.reserve(40, 0)
    for _ in range(60):  # batches of 20 items that leave one by one, 4 seconds apart: 0.2 s an item
        now += 4
        for _ in range(20):
            admission.release(1, 0)
        admission.reserve(20, 0)
    with pytest.raises(QueueFullError) as caught:
        admission.reserve(1, 0)
    assert caught.value.retry_after_s == pytest.approx(40 * 0.2, rel=0.05)


def test_idle_time_does_not_count_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    admission = Admission(10, 1)
    for _ in range(100):
        now += 3600
        admission.reserve(10, 0)
        now += 1
        admission.release(10, 0)
    admission.reserve(10, 0)
    with pytest.raises(QueueFullError) as caught:
        admission.reserve(1, 0)
    assert caught.value.retry_after_s == pytest.approx(1, rel=0.05)


def test_one_who_waits_gets_room_as_soon_as_there_is_some() -> None:
    admission = Admission(1, 10)
    admission.reserve(1, 10)
    waiter = threading.Thread(target=lambda: admission.reserve(1, 10, wait=True))
    waiter.start()
    admission.release(1, 10)
    waiter.join(10)
    assert not waiter.is_alive()
    assert (admission.items, admission.bytes) == (1, 10)


def test_what_can_never_fit_is_refused_even_to_one_who_waits() -> None:
    with pytest.raises(RequestTooLargeError, match=r"at most 1 images .* found 2"):
        Admission(1, 10).reserve(2, 0, wait=True)


def test_draining_refuses_and_wakes_and_waits() -> None:
    admission = Admission(1, 10)
    admission.reserve(1, 1)
    refused = threading.Event()

    def wait() -> None:
        try:
            admission.reserve(1, 1, wait=True)
        except NotReadyError:
            refused.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not admission.drain(0)
    waiter.join(10)
    assert refused.is_set()
    with pytest.raises(NotReadyError):
        admission.reserve(0, 0)
    admission.release(1, 1)
    assert admission.drain(0)


@pytest.mark.parametrize(("items", "size_bytes"), [(0, 1), (1, 0)])
def test_a_queue_without_room_is_refused(items: int, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="room for at least one"):
        Admission(items, size_bytes)
