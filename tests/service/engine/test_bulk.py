"""What bulk may do to interactive work at each place where both wait: little, and it is done all the same."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from service.engine.errors import QueueFullError, RequestTooLargeError
from service.engine.lane import Lane
from service.engine.priority import Priority
from service.engine.runtime import Runtime, Work
from service.engine.ticket import Ticket

WAIT_S = 20


class Bench:
    """A runtime with one thread of each kind, lanes that note their batches, and gates that keep the threads busy."""

    def __init__(self, max_items: int = 1000) -> None:
        self.runtime = Runtime(max_items=max_items, max_bytes=10 * max_items, decode_threads=1, runners=1)
        self.gate = threading.Event()
        self.batches: list[str] = []
        self.lanes = {priority: self.lane(priority) for priority in ("interactive", "bulk")}

    def lane(self, priority: Priority, run: Callable[[Sequence[str]], Sequence[str]] = list) -> Lane[str, str]:
        def note(payloads: Sequence[str]) -> Sequence[str]:
            self.batches.append("".join(payloads))
            return run(payloads)

        return Lane(note, 4, priority=priority)

    def submit(self, lane: Lane[str, str], names: str, *, small: bool = True, **options: float) -> Ticket[str]:
        ticket: Ticket[str] = Ticket(len(names), **options)
        work = [Work(10, functools.partial(str, name), small) for name in names]
        self.runtime.submit(ticket, work, lane, "cpu")
        return ticket

    def interactive(self, names: str, **options: float) -> Ticket[str]:
        return self.submit(self.lanes["interactive"], names, **options)

    def bulk(self, names: str, **options: float) -> Ticket[str]:
        return self.submit(self.lanes["bulk"], names, **options)

    def occupy(self, *, small: bool = True) -> None:
        """Has an inference thread, or where it is not small the decode thread, wait at the gate."""
        busy = threading.Event()

        def wait() -> str:
            busy.set()
            assert self.gate.wait(WAIT_S)
            return "-"

        self.runtime.submit(Ticket(1), [Work(10, wait, small)], Lane(list, 1), "cpu")
        assert busy.wait(WAIT_S)

    def finish(self) -> list[str]:
        """Opens the gate; all batches once everything is done, but for those at the gate."""
        self.gate.set()
        assert self.runtime.drain(WAIT_S)
        return self.batches


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.runtime.close()


class Clock:
    """Stands still unless a batch takes time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def run(self, seconds_per_item: float) -> Callable[[Sequence[str]], list[str]]:
        def run(payloads: Sequence[str]) -> list[str]:
            self.now += seconds_per_item * len(payloads)
            return list(payloads)

        return run


def test_interactive_items_go_before_bulk_that_waited_longer_and_never_into_its_batches(bench: Bench) -> None:
    bench.occupy()
    bench.bulk("bb")
    bench.interactive("iiiiii")
    assert bench.finish()[:2] == ["iiii", "ii"]
    assert set("".join(bench.batches[2:])) == {"b"}


def test_bulk_gets_its_share_though_interactive_items_keep_every_batch_full(bench: Bench) -> None:
    bench.occupy()
    bench.bulk("b")
    bench.interactive("i" * 4 * 9)
    assert bench.finish() == ["iiii"] * 7 + ["b"] + ["iiii"] * 2


def test_interactive_images_are_decoded_before_bulk_that_waited_longer(bench: Bench) -> None:
    bench.occupy(small=False)
    decoded: list[str] = []
    work = {name: [Work(10, functools.partial(decoded.append, name))] for name in "bi"}
    bench.runtime.submit(Ticket(1), work["b"], bench.lane("bulk", lambda _: ["b"]), "cpu")
    bench.runtime.submit(Ticket(1), work["i"], bench.lane("interactive", lambda _: ["i"]), "cpu")
    bench.gate.set()
    assert bench.runtime.drain(WAIT_S)
    assert decoded == ["i", "b"]


def test_batches_of_bulk_grow_while_they_are_quick_and_interactive_ones_need_no_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    bench.occupy()
    bench.submit(bench.lane("bulk", clock.run(0.0001)), "b" * 15)
    bench.submit(bench.lane("interactive", clock.run(0.0001)), "iiii")
    assert bench.finish() == ["iiii", "b", "bb", "bbbb", "bbbb", "bbbb"]


def test_a_batch_of_bulk_ends_with_its_slice_of_time_and_an_interactive_one_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    bench.occupy()
    bench.submit(bench.lane("bulk", clock.run(0.0022)), "b" * 7)
    bench.submit(bench.lane("interactive", clock.run(0.0022)), "iiii")
    assert bench.finish() == ["iiii", "b", "bb", "bb", "bb"]


def thread_of(bench: Bench, priority: Priority) -> int:
    """Where the second piece of quick work runs that an event loop in this thread brings."""
    threads: list[int] = []

    def run(payloads: Sequence[str]) -> Sequence[str]:
        threads.append(threading.get_ident())
        return payloads

    async def main() -> None:
        loop, lane = asyncio.get_running_loop(), bench.lane(priority, run)
        for _ in range(2):  # the first time a thread finds that it is quick
            ticket = bench.submit(lane, "x", post=loop.call_soon_threadsafe, soon=loop.call_soon)
            await asyncio.wrap_future(ticket.future)

    asyncio.run(main())
    return threads[-1]


def test_quick_bulk_is_left_to_threads_by_a_loop_that_nobody_needs(bench: Bench) -> None:
    assert thread_of(bench, "bulk") != threading.get_ident()
    assert thread_of(bench, "interactive") == threading.get_ident()


def test_quick_bulk_does_not_take_the_interpreter_from_a_loop_that_expects_interactive_requests(bench: Bench) -> None:
    bench.runtime.expect_interactive()
    assert thread_of(bench, "bulk") == threading.get_ident()


def test_quick_bulk_does_not_take_the_interpreter_from_a_loop_that_has_others_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.engine.runtime._INTERACTIVE_FOR_S", 0.0)
    bench = Bench(max_items=8)
    bench.occupy()
    waiting = bench.bulk("bbb")
    with pytest.raises(QueueFullError):
        bench.bulk("bbb")
    bench.gate.set()
    waiting.future.result(WAIT_S)
    assert thread_of(bench, "bulk") == threading.get_ident()
    bench.runtime.check_room("bulk", WAIT_S)
    assert thread_of(bench, "bulk") != threading.get_ident()
    bench.runtime.close()


def test_a_flood_of_bulk_is_refused_while_interactive_requests_are_admitted() -> None:
    bench = Bench(max_items=8)
    bench.occupy()
    for _ in range(5):
        bench.bulk("b")
    with pytest.raises(QueueFullError, match="kept for interactive requests") as refused:
        bench.bulk("b")
    assert refused.value.retry_after_s > 0
    with pytest.raises(QueueFullError):
        bench.runtime.check_room("bulk", WAIT_S)
    bench.runtime.check_room("interactive", WAIT_S)
    bench.interactive("ii")
    with pytest.raises(QueueFullError, match="8 of 8 images"):
        bench.interactive("i")
    assert (bench.runtime.load, bench.runtime.bulk_load) == (8, 5)
    assert "".join(bench.finish()) == "iibbbbb"
    assert (bench.runtime.load, bench.runtime.bulk_load) == (0, 0)
    bench.runtime.close()


def test_bulk_that_never_fits_beside_what_is_kept_is_told_so_at_once() -> None:
    bench = Bench(max_items=8)
    with pytest.raises(RequestTooLargeError, match=r"at most 6 images .* in one bulk request, found 7"):
        bench.bulk("b" * 7)
    bench.runtime.close()


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
@pytest.mark.parametrize("small", [True, False])
def test_whoever_gives_up_frees_its_places_and_is_neither_decoded_nor_run(
    bench: Bench, priority: Priority, small: bool
) -> None:
    bench.occupy(small=small)
    ticket = bench.submit(bench.lanes[priority], "xyz", small=small)
    assert bench.runtime.load == 4
    ticket.cancel()
    assert bench.finish() == []
    assert (bench.runtime.load, bench.runtime.bulk_load) == (0, 0)


def test_bulk_waits_for_room_where_it_is_asked_to_and_all_of_it_is_done() -> None:
    bench = Bench(max_items=4)
    ticket: Ticket[str] = Ticket(50)
    work = [Work(10, lambda: "b", small=True)] * 50
    bench.runtime.submit(ticket, work, bench.lanes["bulk"], "cpu", wait=True)
    assert ticket.future.result(WAIT_S) == ["b"] * 50
    bench.runtime.close()
