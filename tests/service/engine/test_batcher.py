"""Batches form while the thread is busy, fail item by item, and the thread never dies unnoticed."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.engine.batcher import Batcher, Outcomes
from service.engine.errors import (
    DeadlineExceededError,
    DeviceLostError,
    InferenceError,
    NotReadyError,
    RequestCancelledError,
)
from service.engine.lane import Lane
from service.engine.patience import Patience
from service.engine.portions import Hold
from service.engine.ticket import Item, Ticket

WAIT_S = 20


class Bench:
    """A batcher on a real thread whose lanes run only when they may, and everything that came out of it."""

    def __init__(self) -> None:
        self.settled: list[tuple[object, object]] = []
        self.calls: list[int] = []
        self.batches: list[list[object]] = []
        self.gate = threading.Event()
        self.busy = threading.Event()
        self._count = threading.Condition()
        self.sizes: list[int] = []
        self.batcher = Batcher(self._settle, lambda size, _: self.sizes.append(size))

    def lane(self, max_batch: int, run: Callable[[Sequence[int]], Sequence[object]] = list) -> Lane[int, object]:
        def gated(payloads: Sequence[int]) -> Sequence[object]:
            self.busy.set()
            assert self.gate.wait(WAIT_S)
            self.batches.append(list(payloads))
            return run(payloads)

        return Lane(gated, max_batch)

    def put(self, lane: Lane[int, object], *payloads: int, ticket: Ticket[object] | None = None) -> None:
        for payload in payloads:
            item = Item(ticket or Ticket(1), 0, 0, payload, decoded_at=time.perf_counter())
            self.batcher.put(lane, item)

    def occupy(self) -> None:
        """Has the thread wait in a batch of its own, so that what is put next gathers."""
        self.put(self.lane(1), -1)
        assert self.busy.wait(WAIT_S)

    def wait(self, count: int) -> dict[object, object]:
        with self._count:
            assert self._count.wait_for(lambda: len(self.settled) >= count, WAIT_S)
        return dict(self.settled)

    def _settle(self, outcomes: Outcomes) -> None:
        with self._count:
            self.calls.append(len(outcomes))
            self.settled += [(item.payload, outcome) for item, outcome in outcomes]
            self._count.notify()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.batcher.close()


def test_what_gathers_while_a_batch_runs_goes_together_and_in_order(bench: Bench) -> None:
    bench.occupy()
    bench.put(bench.lane(4, lambda xs: [x * 10 for x in xs]), *range(10))
    bench.gate.set()
    assert bench.wait(11) == {-1: -1} | {x: x * 10 for x in range(10)}
    assert bench.batches == [[-1], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert bench.calls == bench.sizes == [1, 4, 4, 2]


def test_a_free_thread_waits_for_nothing(bench: Bench) -> None:
    bench.gate.set()
    bench.put(bench.lane(64), 1)
    assert bench.wait(1) == {1: 1}


def test_free_threads_share_what_waits_if_it_is_worth_it() -> None:
    together = threading.Barrier(2)

    def run(payloads: Sequence[int]) -> list[int]:
        time.sleep(0.02)
        if len(payloads) > 1:
            together.wait(WAIT_S)  # breaks unless two threads are in here
        return [len(payloads)] * len(payloads)

    done: list[object] = []
    finished = threading.Semaphore(0)

    def settle(outcomes: Outcomes) -> None:
        done.extend(outcome for _, outcome in outcomes)
        finished.release(len(outcomes))

    batcher, lane = Batcher(settle, threads=2), Lane(run, 8)
    batcher.put(lane, Item(Ticket(1), 0, 0, 1))  # from which it learns what an item takes
    assert finished.acquire(timeout=WAIT_S)
    batcher.put(lane, *(Item(Ticket(1), 0, 0, number) for number in range(6)))
    for _ in range(6):
        assert finished.acquire(timeout=WAIT_S)
    batcher.close()
    assert done == [1, 3, 3, 3, 3, 3, 3]


class Slow:
    """A batcher of two threads, and a lane of which an item takes a hundredth of a second and waits for its turn."""

    def __init__(self, hold: Hold | None = None) -> None:
        self.sizes: list[int] = []
        self.inside, self.leave = threading.Semaphore(0), threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self.lane = Lane(self._run, 64)
        self.batcher = Batcher(lambda outcomes: self._done.release(len(outcomes)), threads=2, hold=hold)
        self.put(1)  # from which it learns what an item takes
        self.leave.release()
        self.wait(1)
        assert self.inside.acquire(timeout=WAIT_S)
        self.sizes.clear()

    def put(self, count: int) -> None:
        self.batcher.put(self.lane, *(Item(Ticket(1), 0, 0, number) for number in range(count)))

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._done.acquire(timeout=WAIT_S)

    def _run(self, payloads: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(payloads))
        self.inside.release()
        assert self.leave.acquire(timeout=WAIT_S)
        time.sleep(0.01 * len(payloads))
        return payloads


def test_a_thread_takes_no_more_than_its_part_of_what_waits_and_what_runs() -> None:
    slow = Slow()
    slow.put(2)  # one for each thread
    for _ in range(2):
        assert slow.inside.acquire(timeout=WAIT_S)
    slow.put(20)
    slow.leave.release()
    assert slow.inside.acquire(timeout=WAIT_S)
    assert slow.sizes == [1, 1, 11]  # of 20 that wait and 1 that runs
    slow.leave.release(20)
    slow.wait(22)
    slow.batcher.close()


@pytest.mark.parametrize(("batch_s", "least", "most"), [(0.08, 4, 8), (0.001, 4, 4)])
def test_what_would_take_too_long_is_run_in_several_batches_but_never_of_very_few(
    batch_s: float, least: int, most: int
) -> None:
    slow = Slow(Hold(batch_s))
    slow.leave.release(20)
    slow.put(40)
    slow.wait(40)
    slow.batcher.close()
    assert least <= max(slow.sizes) <= most


class Decoding:
    """A batcher of one thread on one CPU, and a lane of which an item takes two milliseconds."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.done = threading.Semaphore(0)
        self.lane = Lane(self._run, 64)
        self.batcher = Batcher(lambda outcomes: self.done.release(len(outcomes)), patience=Patience(1))

    def put(self, *, expected: int = 0) -> None:
        self.batcher.put(self.lane, Item(Ticket(1), 0, 0, 1, decoded_at=time.perf_counter()), expected=expected)

    def learn(self) -> None:
        """From one item, what an item takes."""
        self.put()
        assert self.done.acquire(timeout=WAIT_S)

    def _run(self, payloads: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(payloads))
        time.sleep(0.002 * len(payloads))
        return payloads


@pytest.fixture
def decoding() -> Iterator[Decoding]:
    decoding = Decoding()
    decoding.learn()
    yield decoding
    decoding.batcher.close()


def test_what_is_decoded_waits_for_what_is_being_decoded(decoding: Decoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.patience.Patience.left_s", _as_long_as_it_takes)
    for _ in range(5):
        decoding.batcher.expect(decoding.lane)
    for _ in range(4):
        decoding.put(expected=1)
    decoding.batcher.put(decoding.lane, expected=1)  # the last one cannot be decoded
    for _ in range(4):
        assert decoding.done.acquire(timeout=WAIT_S)
    assert decoding.sizes == [1, 4]


def _as_long_as_it_takes(patience: Patience, lane: Lane[int, int], *_: float) -> float:
    return WAIT_S if patience.expected(lane) else 0.0


def test_what_waits_for_something_that_does_not_come_is_run_all_the_same(decoding: Decoding) -> None:
    decoding.batcher.expect(decoding.lane)
    decoding.put()
    decoding.put()
    for _ in range(2):
        assert decoding.done.acquire(timeout=WAIT_S)
    assert sum(decoding.sizes) == 3


def test_turns_of_bulk_are_short_where_somebody_may_come_and_long_where_nobody_did(bench: Bench) -> None:
    bench.occupy()  # whose item is interactive
    bulk = replace(bench.lane(64), priority="bulk")
    bench.put(bulk, *range(40))
    bench.gate.set()
    bench.wait(41)
    assert [len(batch) for batch in bench.batches[1:4]] == [1, 2, 4]
    bench.batcher._portions._interactive_at -= 60
    bench.busy.clear()
    bench.gate.clear()
    bench.put(bulk, 40)
    assert bench.busy.wait(WAIT_S)
    bench.put(bulk, *range(41, 101))
    bench.gate.set()
    bench.wait(102)
    assert len(bench.batches[-1]) == 60


def test_a_lone_item_has_the_device_to_itself_and_one_beside_others_does_not() -> None:
    settled: list[object] = []
    inside, leave = threading.Semaphore(0), threading.Semaphore(0)

    def held(name: str) -> Callable[[Sequence[int]], list[str]]:
        def run(payloads: Sequence[int]) -> list[str]:
            inside.release()
            assert leave.acquire(timeout=WAIT_S)
            return [name] * len(payloads)

        return run

    batcher = Batcher(lambda outcomes: settled.extend(outcome for _, outcome in outcomes), threads=2)
    lane = Lane(held("shared"), 8, held("alone"))
    for _ in range(2):
        batcher.put(lane, Item(Ticket(1), 0, 0, 1))
        assert inside.acquire(timeout=WAIT_S)
    leave.release(2)
    batcher.close(WAIT_S)
    assert sorted(map(str, settled)) == ["alone", "shared"]


def test_the_lane_of_the_oldest_item_goes_first_and_lanes_do_not_mix(bench: Bench) -> None:
    bench.occupy()
    a, b = bench.lane(8), bench.lane(8)
    bench.put(a, 1)
    bench.put(b, 2)
    bench.put(a, 3)
    bench.put(b, 4)
    bench.gate.set()
    bench.wait(5)
    assert bench.batches[1:] == [[1, 3], [2, 4]]


def test_a_lane_under_steady_load_does_not_starve_another(bench: Bench) -> None:
    bench.occupy()
    a, b = bench.lane(2), bench.lane(2)
    bench.put(a, 1, 2)
    bench.put(b, 3)
    bench.put(a, 4, 5, 6, 7)
    bench.gate.set()
    bench.wait(8)
    assert bench.batches[1:] == [[1, 2], [3], [4, 5], [6, 7]]


def test_when_a_batch_fails_only_the_culprit_fails(bench: Bench) -> None:
    def run(payloads: Sequence[int]) -> list[int]:
        if 3 in payloads:
            raise RuntimeError("secret internals")
        return list(payloads)

    bench.occupy()
    bench.put(bench.lane(8, run), *range(6))
    bench.gate.set()
    outcomes = bench.wait(7)
    culprit = outcomes.pop(3)
    assert outcomes == {x: x for x in (-1, 0, 1, 2, 4, 5)}
    assert isinstance(culprit, InferenceError)
    assert "secret" not in str(culprit)
    assert bench.batcher.alive
    bench.put(bench.lane(1), 99)
    assert bench.wait(8)[99] == 99


@pytest.mark.parametrize("wrong", [lambda xs: xs[:-1], lambda xs: [*xs, 0], lambda _: []])
def test_a_wrong_number_of_results_is_an_error_and_never_a_shift(
    bench: Bench, wrong: Callable[[Sequence[int]], list[int]]
) -> None:
    bench.gate.set()
    bench.put(bench.lane(4, wrong), *range(3))
    assert all(isinstance(outcome, InferenceError) for outcome in bench.wait(3).values())


def test_cancelled_and_late_items_are_dropped_when_the_batch_is_formed(bench: Bench) -> None:
    cancelled: Ticket[object] = Ticket(1)
    late: Ticket[object] = Ticket(1, deadline_s=0)
    bench.occupy()
    lane = bench.lane(2)
    bench.put(lane, 1, ticket=cancelled)
    bench.put(lane, 2, ticket=late)
    bench.put(lane, 3, 4)
    cancelled.cancel()
    bench.gate.set()
    outcomes = bench.wait(5)
    assert isinstance(outcomes[1], RequestCancelledError)
    assert isinstance(outcomes[2], DeadlineExceededError)
    assert bench.batches == [[-1], [3, 4]], "they take no place in it"


class Death(BaseException):
    """What no lane may survive."""


def test_a_dead_thread_is_noticed_and_leaves_nobody_waiting(bench: Bench) -> None:
    def die(payloads: Sequence[int]) -> list[int]:
        raise Death

    bench.occupy()
    bench.put(bench.lane(2, die), 1, 2)
    bench.put(bench.lane(2), 3)
    bench.gate.set()
    outcomes = bench.wait(4)
    assert all(isinstance(outcomes[x], NotReadyError) for x in (1, 2, 3))
    bench.batcher.close()
    assert not bench.batcher.alive
    bench.put(bench.lane(2), 4)
    assert isinstance(bench.wait(5)[4], NotReadyError)
    assert len(bench.settled) == 5


def test_death_in_the_middle_of_a_retry_settles_each_item_once(bench: Bench) -> None:
    def run(payloads: Sequence[int]) -> list[int]:
        if len(payloads) > 1:
            raise RuntimeError
        if payloads[0] == 2:
            raise Death
        return list(payloads)

    bench.occupy()
    bench.put(bench.lane(4, run), 1, 2, 3)
    bench.gate.set()
    outcomes = bench.wait(4)
    bench.batcher.close()
    assert outcomes[1] == 1
    assert isinstance(outcomes[2], NotReadyError)
    assert isinstance(outcomes[3], NotReadyError)
    assert len(bench.settled) == 4


def test_a_lost_device_ends_the_thread_and_is_not_tried_again(bench: Bench) -> None:
    tried: list[Sequence[int]] = []

    def run(payloads: Sequence[int]) -> list[int]:
        tried.append(payloads)
        raise DeviceLostError("The GPU has failed.")

    bench.occupy()
    bench.put(bench.lane(2, run), 1, 2, 3)
    bench.gate.set()
    outcomes = bench.wait(4)
    assert all(isinstance(outcomes[x], NotReadyError) for x in (1, 2, 3))
    assert tried == [[1, 2]]
    assert not bench.batcher.alive


def test_each_thread_makes_the_call_itself_one_after_the_other_between_batches() -> None:
    settled: list[object] = []
    batcher = Batcher(lambda outcomes: settled.extend(outcome for _, outcome in outcomes), threads=3)
    lane: Lane[int, str] = Lane(lambda payloads: [threading.current_thread().name] * len(payloads), 1)
    made: list[tuple[int, str]] = []
    busy = threading.Lock()

    def call(number: int) -> None:
        assert busy.acquire(blocking=False)
        time.sleep(0.01)
        made.append((number, threading.current_thread().name))
        busy.release()

    for _ in range(2):
        batcher.put(lane, *(Item(Ticket(1), 0, 0, 0, decoded_at=time.perf_counter()) for _ in range(20)))
        batcher.on_each_thread(call)
    assert made == [(0, "inference"), (1, "inference-2"), (2, "inference-3")] * 2
    batcher.close()
    assert len(settled) == 40


def test_what_a_call_raises_reaches_who_asked_and_the_thread_lives(bench: Bench) -> None:
    def fail(number: int) -> None:
        raise ValueError(f"thread {number}")

    with pytest.raises(ValueError, match="thread 0"):
        bench.batcher.on_each_thread(fail)
    bench.gate.set()
    bench.put(bench.lane(1), 1)
    assert bench.wait(1) == {1: 1}


def test_a_call_that_no_thread_will_make_is_refused(bench: Bench) -> None:
    bench.occupy()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(bench.batcher.on_each_thread, lambda _: None)
        while 0 not in bench.batcher._errands:
            time.sleep(0.001)
        closing = threading.Thread(target=bench.batcher.close)
        closing.start()
        assert isinstance(asked.exception(WAIT_S), NotReadyError)
    bench.gate.set()
    closing.join(WAIT_S)
    with pytest.raises(NotReadyError):
        bench.batcher.on_each_thread(lambda _: None)


def test_closing_ends_the_batch_that_runs_and_refuses_the_rest(bench: Bench) -> None:
    bench.occupy()
    bench.put(bench.lane(2), 1, 2)
    closing = threading.Thread(target=bench.batcher.close)
    closing.start()
    assert all(isinstance(outcome, NotReadyError) for outcome in bench.wait(2).values())
    bench.gate.set()
    closing.join(WAIT_S)
    assert bench.wait(3)[-1] == -1
    assert not bench.batcher.alive


def test_a_batch_holds_at_least_one_item() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        Lane(list, 0)
