"""Whatever happens to items, each gets one outcome and gives its room back."""

import functools
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from service.engine.errors import (
    DeadlineExceededError,
    EngineError,
    InferenceError,
    NotReadyError,
    QueueFullError,
    RequestTooLargeError,
)
from service.engine.images import UndecodableImageError
from service.engine.lane import Lane
from service.engine.runtime import Runtime, Work
from service.engine.ticket import Ticket

WAIT_S = 20
DOUBLE: Lane[int, int] = Lane(lambda payloads: [2 * payload for payload in payloads], 4)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(max_items=8, max_bytes=80, decode_threads=2, max_batch=4)
    yield runtime
    runtime.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opens what `blocked` closed, at the latest when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


def work(*values: int, size_bytes: int = 10, small: bool = True) -> list[Work]:
    return [Work(size_bytes, functools.partial(int, value), small) for value in values]


def blocked(gate: threading.Event) -> Work:
    def decode() -> int:
        assert gate.wait(WAIT_S)
        return 1

    return Work(10, decode, small=True)


def failing(error: BaseException) -> Work:
    def decode() -> int:
        raise error

    return Work(10, decode, small=True)


def submit(runtime: Runtime, items: Sequence[Work], lane: Lane[int, int] = DOUBLE, **options: float) -> Ticket[int]:
    ticket: Ticket[int] = Ticket(len(items), **options)
    runtime.submit(ticket, items, lane, "cpu")
    return ticket


def test_every_item_gets_its_own_outcome_in_order(runtime: Runtime) -> None:
    bad = UndecodableImageError("bad")
    outcomes = submit(runtime, [*work(1), failing(bad), *work(3), failing(MemoryError())]).future.result(WAIT_S)
    assert outcomes[:3] == [2, bad, 6]
    assert isinstance(outcomes[3], InferenceError)
    assert runtime.drain(WAIT_S)


def test_all_items_of_a_request_are_admitted_or_none(runtime: Runtime, gate: threading.Event) -> None:
    first = submit(runtime, [blocked(gate)] * 5)
    with pytest.raises(QueueFullError) as caught:
        submit(runtime, work(1, 2, 3, 4))
    assert caught.value.retry_after_s > 0
    assert runtime.load == 5
    second = submit(runtime, work(1, 2, 3))
    with pytest.raises(RequestTooLargeError):
        submit(runtime, work(*range(9)))
    with pytest.raises(RequestTooLargeError):
        submit(runtime, work(1, size_bytes=81))
    gate.set()
    assert first.future.result(WAIT_S) == [2] * 5
    assert second.future.result(WAIT_S) == [2, 4, 6]


def test_waiting_for_room_takes_more_items_than_the_queue_holds(runtime: Runtime) -> None:
    ticket: Ticket[int] = Ticket(100)
    runtime.submit(ticket, work(*range(100)), DOUBLE, "cpu", wait=True)
    assert ticket.future.result(WAIT_S) == [2 * value for value in range(100)]


def test_an_item_that_can_never_fit_ends_the_wait_and_leaves_nothing_behind(runtime: Runtime) -> None:
    ticket: Ticket[int] = Ticket(3)
    items = [*work(1, 2), *work(3, size_bytes=81)]
    with pytest.raises(RequestTooLargeError):
        runtime.submit(ticket, items, DOUBLE, "cpu", wait=True)
    assert ticket.future.cancelled()
    assert runtime.drain(WAIT_S)


def test_cancelled_and_late_items_are_not_decoded(runtime: Runtime, gate: threading.Event) -> None:
    decoded: list[int] = []
    occupied = submit(runtime, [blocked(gate)] * 2)
    cancelled = submit(runtime, [Work(10, lambda: decoded.append(1) or 1, small=True)])
    late = submit(runtime, [Work(10, lambda: decoded.append(2) or 2, small=True)], deadline_s=0)
    cancelled.cancel()
    gate.set()
    assert isinstance(late.future.result(WAIT_S)[0], DeadlineExceededError)
    assert occupied.future.result(WAIT_S) == [2, 2]
    assert runtime.drain(WAIT_S)
    assert decoded == []


def test_draining_refuses_new_work_and_answers_what_was_accepted(runtime: Runtime, gate: threading.Event) -> None:
    accepted = submit(runtime, [blocked(gate)] * 8)
    assert not runtime.drain(0)
    with pytest.raises(NotReadyError):
        submit(runtime, work(1))
    gate.set()
    assert runtime.drain(WAIT_S)
    assert accepted.future.result(0) == [2] * 8, "drained means told"


def test_closing_leaves_nobody_waiting(gate: threading.Event) -> None:
    runtime = Runtime(max_items=50, decode_threads=1)
    ticket = submit(runtime, [Work(10, blocked(gate).decode), *work(*range(30), small=False)])  # one decode thread
    closing = threading.Thread(target=runtime.close)
    closing.start()
    while runtime.alive:
        time.sleep(0.001)
    gate.set()
    closing.join(WAIT_S)
    outcomes = ticket.future.result(WAIT_S)
    assert all(isinstance(outcome, NotReadyError) for outcome in outcomes)
    assert runtime.load == 0
    with pytest.raises(NotReadyError):
        submit(runtime, work(1))


class Death(BaseException):
    """What no lane may survive."""


def test_a_dead_inference_thread_is_seen_and_refused_work(runtime: Runtime) -> None:
    def die(payloads: Sequence[int]) -> list[int]:
        raise Death

    assert submit(runtime, work(1)).future.result(WAIT_S) == [2]
    assert runtime.alive
    outcomes = submit(runtime, work(1, 2, 3), Lane(die, 4)).future.result(WAIT_S)
    assert all(isinstance(outcome, NotReadyError) for outcome in outcomes)
    assert not runtime.alive
    with pytest.raises(NotReadyError):
        submit(runtime, work(1))
    assert runtime.load == 0


def test_lanes_of_one_device_share_its_threads_and_devices_do_not() -> None:
    def name(payloads: Sequence[int]) -> list[int]:
        return [threading.get_ident()] * len(payloads)

    runtime = Runtime(runners=1)
    idents = []
    for device in ("cpu", "cpu", "cuda:0"):
        ticket: Ticket[int] = Ticket(1)
        runtime.submit(ticket, work(1), Lane(name, 4), device)
        idents += ticket.future.result(WAIT_S)
    assert idents[0] == idents[1] != idents[2]
    runtime.close()


@pytest.mark.parametrize(
    ("device", "threads"), [("cuda:0", 1), ("cuda:1", 1), ("cuda:0,1,3", 3), ("tensorrt:0,1", 2), ("cpu", 4)]
)
def test_every_gpu_has_one_inference_thread_behind_one_queue(device: str, threads: int) -> None:
    runtime = Runtime(runners=4)
    numbers: list[int] = []
    runtime.on_each_thread(device, numbers.append)
    assert numbers == list(range(threads))
    runtime.close()
    with pytest.raises(NotReadyError):
        runtime.on_each_thread(device, numbers.append)


@pytest.mark.parametrize(
    ("small", "device", "thread"), [(True, "cpu", "inference"), (False, "cpu", "decode"), (True, "cuda:0", "decode")]
)
def test_small_images_are_decoded_where_they_are_run_and_never_by_what_feeds_a_gpu(
    small: bool, device: str, thread: str
) -> None:
    runtime = Runtime()
    ticket: Ticket[str] = Ticket(1)
    runtime.submit(ticket, [Work(1, lambda: threading.current_thread().name, small)], Lane(list, 4), device)
    (name,) = ticket.future.result(WAIT_S)
    assert isinstance(name, str)
    assert name.startswith(thread)
    runtime.close()


@pytest.mark.parametrize(("device", "wait"), [("cpu", False), ("cpu", True), ("cuda:0", False)])
def test_what_needs_no_decoding_takes_no_decode_thread(device: str, wait: bool) -> None:
    runtime, gate = Runtime(max_items=8, decode_threads=1), threading.Event()
    occupied: Ticket[int] = Ticket(1)
    runtime.submit(occupied, [Work(10, blocked(gate).decode)], DOUBLE, "cpu")  # the only decode thread
    ticket: Ticket[int] = Ticket(20 if wait else 5)
    ready = [Work(10, None, payload=value) for value in range(ticket.size)]
    runtime.submit(ticket, ready, DOUBLE, device, wait=wait)
    assert ticket.future.result(WAIT_S) == [2 * value for value in range(ticket.size)]
    assert ticket.timings.decode_s == 0
    gate.set()
    assert runtime.drain(WAIT_S)
    runtime.close()


def test_what_cannot_be_decoded_where_it_is_run_fails_alone(runtime: Runtime) -> None:
    bad = UndecodableImageError("bad")
    lane: Lane[int, int] = Lane(lambda payloads: [2 * payload for payload in payloads], 8)
    assert submit(runtime, [*work(1), failing(bad), *work(3)], lane).future.result(WAIT_S) == [2, bad, 6]
    assert runtime.drain(WAIT_S)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of single threads")
def test_what_computes_gives_way_to_what_answers(runtime: Runtime) -> None:
    found: list[int] = []

    def look(payload: object = None) -> object:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return payload

    ticket: Ticket[object] = Ticket(1)
    lane: Lane[object, object] = Lane(lambda payloads: [look(payload) for payload in payloads], 8)
    runtime.submit(ticket, [Work(10, look)], lane, "cpu")
    ticket.future.result(WAIT_S)
    look()
    decoder, runner, other = found
    assert other < decoder == runner


def test_many_clients_that_fail_cancel_and_hurry_leak_nothing() -> None:
    sizes: list[int] = []
    runtime = Runtime(max_items=40, max_bytes=10_000, decode_threads=3, on_batch=lambda size, _: sizes.append(size))

    def run(payloads: Sequence[int]) -> list[int]:
        if any(payload == 13 for payload in payloads):
            raise RuntimeError
        return [2 * payload for payload in payloads]

    lanes = [Lane(run, 7), Lane(run, 3)]

    def client(seed: int) -> int:
        rng = random.Random(seed)
        answered = 0
        for _ in range(60):
            values = [rng.randrange(20) for _ in range(rng.randrange(12))]
            items = [failing(UndecodableImageError("7")) if value == 7 else work(value)[0] for value in values]
            ticket: Ticket[int] = Ticket(len(items), deadline_s=rng.choice([None, 0.0, 0.001, 5.0]))
            try:
                runtime.submit(ticket, items, rng.choice(lanes), "cpu", wait=rng.random() < 0.3)
            except QueueFullError:
                continue
            if rng.random() < 0.2 and ticket.cancel():
                continue
            try:
                outcomes = ticket.future.result(WAIT_S)
            except CancelledError:
                continue
            assert len(outcomes) == len(values)
            for value, outcome in zip(values, outcomes, strict=True):
                if isinstance(outcome, DeadlineExceededError):
                    continue
                answered += 1
                if value in {7, 13}:
                    assert isinstance(outcome, UndecodableImageError if value == 7 else InferenceError)
                else:
                    assert outcome == 2 * value
        return answered

    with ThreadPoolExecutor(8) as clients:
        answered = sum(clients.map(client, range(8)))
    assert answered > 500
    assert runtime.drain(WAIT_S)
    assert runtime.load == 0
    assert runtime._admission.bytes == 0
    assert max(sizes) <= 7
    assert runtime.alive
    runtime.close()


def test_the_errors_of_the_engine_are_one_family() -> None:
    for error in (DeadlineExceededError, InferenceError, NotReadyError, QueueFullError, RequestTooLargeError):
        assert issubclass(error, EngineError)
