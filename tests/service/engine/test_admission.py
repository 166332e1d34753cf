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


def test_after_a_refusal_for_lack_of_room_an_eighth_must_be_free_before_more_is_read() -> None:
    admission = Admission(160, 1600)
    admission.reserve(90, 0, "bulk")
    admission.check("bulk")
    with pytest.raises(QueueFullError):
        admission.reserve(40, 0, "bulk")
    assert admission.is_shut("bulk")
    admission.check("bulk")  # 30 of 120 are free
    assert not admission.is_shut("bulk")
    admission.reserve(20, 0, "bulk")
    with pytest.raises(QueueFullError):
        admission.reserve(20, 0, "bulk")
    for _ in range(4):
        with pytest.raises(QueueFullError, match=r"full: 1\d\d images wait") as refused:
            admission.check("bulk")
        assert refused.value.retry_after_s > 0
        admission.check("interactive")
        admission.release(1, 0, 1)
    admission.release(1, 0, 1)
    admission.check("bulk")
    admission.reserve(15, 0, "bulk")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_small_queue_is_open_whenever_one_fits(size: int) -> None:
    admission = Admission(size, size)
    admission.reserve(size, 0)
    with pytest.raises(QueueFullError):
        admission.reserve(1, 0)
    with pytest.raises(QueueFullError):
        admission.check("interactive")
    admission.release(1, 0)
    admission.check("interactive")


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


def test_the_advice_is_for_what_goes_before_the_one_who_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    admission = Admission(40, 1)
    admission.reserve(10, 0)
    admission.reserve(20, 0, "bulk")
    for _ in range(100):  # interactive items take 0.1 s each, and bulk gets every second of them another one done
        now += 1
        admission.release(10, 0)
        admission.release(1, 0, bulk_items=1)
        admission.reserve(10, 0)
        admission.reserve(1, 0, "bulk")
    assert admission.wait_s("interactive") == pytest.approx(10 * 0.1, rel=0.05)
    assert admission.wait_s("bulk") == pytest.approx(10 * 0.1 + 20 * 1, rel=0.05)
    with pytest.raises(QueueFullError) as caught:
        admission.reserve(1, 0, "bulk")
    assert caught.value.retry_after_s == admission.wait_s("bulk")


def test_what_would_hardly_be_done_in_time_is_refused_and_what_is_late_already_is_not() -> None:
    admission = Admission(1000, 1)
    admission.reserve(100, 0, within_s=0.001)  # nothing goes before it
    wait_s = admission.wait_s("interactive")
    for within_s in (0.9 * wait_s, 0.01):
        with pytest.raises(QueueFullError, match=r"goes before, too much for an answer within .* try later"):
            admission.reserve(1, 0, within_s=within_s)
        with pytest.raises(QueueFullError):
            admission.check("interactive", within_s)
    for within_s in (3 * wait_s, 0.0, -1.0, None):
        admission.reserve(1, 0, within_s=within_s)
    admission.reserve(100, 0, "bulk")
    admission.check("interactive", 3 * wait_s)
    with pytest.raises(QueueFullError):
        admission.check("bulk", 3 * wait_s)


def test_bulk_leaves_a_quarter_of_the_items_and_of_the_bytes() -> None:
    for items, size_bytes in ((60, 0), (0, 600)):
        admission = Admission(80, 800)
        admission.reserve(items, size_bytes, "bulk")
        admission.check("interactive")
        with pytest.raises(QueueFullError, match="but for the quarter"):
            admission.reserve(1, 1, "bulk")
        with pytest.raises(QueueFullError):
            admission.check("bulk")
        admission.reserve(20, 200)
        with pytest.raises(QueueFullError):
            admission.check("interactive")
    with pytest.raises(RequestTooLargeError, match="at most 60 images and 600 bytes in one bulk request"):
        admission.reserve(61, 0, "bulk")


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
