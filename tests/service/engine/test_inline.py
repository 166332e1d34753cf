"""Quick work is done on the loop that brought it: in batches, in slices, and only when it is known to be quick."""

import asyncio
import functools
import threading
import time
from collections.abc import Sequence

from service.engine.batcher import Batcher, Outcomes
from service.engine.errors import DeadlineExceededError, NotReadyError, RequestCancelledError
from service.engine.images import UndecodableImageError
from service.engine.inline import Inline
from service.engine.lane import Lane
from service.engine.runtime import Runtime, Work
from service.engine.ticket import Item, Ticket

WAIT_S = 20


class Recorder:
    """A lane that notes its batches and where they ran."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.seconds = seconds
        self.lane: Lane[int, int] = Lane(self.run, 64)

    def run(self, payloads: Sequence[int]) -> list[int]:
        time.sleep(self.seconds)
        self.batches.append(list(payloads))
        self.threads.add(threading.get_ident())
        return [2 * payload for payload in payloads]


async def ask(runtime: Runtime, lane: Lane[int, int], *values: int) -> list[object]:
    loop = asyncio.get_running_loop()
    ticket: Ticket[int] = Ticket(len(values), post=loop.call_soon_threadsafe, soon=loop.call_soon)
    runtime.submit(ticket, [Work(1, functools.partial(int, value), small=True) for value in values], lane, "cpu")
    return list(await asyncio.wait_for(asyncio.wrap_future(ticket.future), WAIT_S))


def test_what_one_turn_of_the_loop_brings_is_one_batch_on_its_thread() -> None:
    recorder, runtime = Recorder(), Runtime()

    async def main() -> None:
        assert await ask(runtime, recorder.lane, 1) == [2]  # by a thread, which finds that it is quick
        assert threading.get_ident() not in recorder.threads
        while threading.get_ident() not in recorder.threads:  # a busy machine may take a while to look quick
            await ask(runtime, recorder.lane, 1)
        recorder.threads.clear()
        recorder.batches.clear()
        found = await asyncio.gather(*(ask(runtime, recorder.lane, value, value + 100) for value in range(3)))
        assert found == [[0, 200], [2, 202], [4, 204]]

    asyncio.run(main())
    assert recorder.threads == {threading.get_ident()}
    assert recorder.batches == [[0, 100, 1, 101, 2, 102]]
    assert runtime.drain(0)
    runtime.close()


def test_a_slow_model_is_left_to_threads() -> None:
    recorder, runtime = Recorder(0.005), Runtime()

    async def main() -> None:
        for value in range(3):
            assert await ask(runtime, recorder.lane, value) == [2 * value]

    asyncio.run(main())
    assert threading.get_ident() not in recorder.threads
    runtime.close()


def test_much_work_is_done_in_slices_between_which_the_loop_turns() -> None:
    recorder, settled = Recorder(), list[object]()
    batcher = Batcher(lambda outcomes: settled.extend(outcome for _, outcome in outcomes))
    inline, turns = Inline(batcher), list[int]()

    def decode(value: int) -> int:
        time.sleep(0.001)
        return value

    async def main() -> None:
        loop = asyncio.get_running_loop()
        items = [Item(Ticket(1), 0, 0, decode=functools.partial(decode, value)) for value in range(40)]
        inline.put(recorder.lane, items, loop.call_soon)
        while len(settled) < 40:
            turns.append(len(settled))
            await asyncio.sleep(0)

    asyncio.run(main())
    assert settled == [2 * value for value in range(40)]
    assert len(recorder.batches) > 5
    assert len(turns) > 5
    batcher.close()


def test_a_loop_that_is_busy_otherwise_gives_as_much_time_to_what_it_accepted() -> None:
    recorder, settled = Recorder(), list[object]()
    batcher = Batcher(lambda outcomes: settled.extend(outcome for _, outcome in outcomes))
    inline = Inline(batcher)

    def decode() -> int:
        time.sleep(0.001)
        return 1

    async def done_after(busy_s: float) -> int:
        settled.clear()
        inline.put(
            recorder.lane,
            [Item(Ticket(1), 0, 0, decode=decode) for _ in range(60)],
            asyncio.get_running_loop().call_soon,
        )
        time.sleep(busy_s)  # the rest of this turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first = len(settled)
        while len(settled) < 60:
            await asyncio.sleep(0)
        return first

    async def main() -> tuple[int, int]:
        await done_after(0)  # to learn what an item costs
        return await done_after(0), await done_after(0.04)

    idle, busy = asyncio.run(main())
    assert busy >= 2 * idle
    batcher.close()


def test_bulk_has_a_turn_in_two_dozen_of_a_busy_loop_and_every_one_of_an_idle_loop() -> None:
    recorder, settled = Recorder(), list[object]()
    lane = Lane(recorder.run, 1, priority="bulk")
    batcher = Batcher(lambda outcomes: settled.extend(outcome for _, outcome in outcomes))
    inline = Inline(batcher)

    def slow() -> int:
        time.sleep(0.002)  # a whole slice
        return 1

    async def turns_for_four(busy_s: float) -> int:
        settled.clear()
        items = [Item(Ticket(1), 0, 0, decode=slow) for _ in range(4)]
        inline.put(lane, items, asyncio.get_running_loop().call_soon)
        turns = 0
        while len(settled) < 4:
            if busy_s:
                time.sleep(busy_s)
            await asyncio.sleep(0)
            turns += 1
        return turns

    async def main() -> tuple[int, int]:
        await turns_for_four(0)  # to learn what an item costs
        return await turns_for_four(0), await turns_for_four(0.0005)

    idle, busy = asyncio.run(main())
    assert idle < 72 <= busy < 120
    batcher.close()


def test_what_nobody_wants_any_more_is_not_run_though_it_needs_no_decoding() -> None:
    outcomes: list[object] = []
    batcher, recorder = Batcher(lambda found: outcomes.extend(outcome for _, outcome in found)), Recorder()
    gone: Ticket[int] = Ticket(1)
    gone.cancel()
    late: Ticket[int] = Ticket(1, deadline_s=0)
    batcher.run_here(recorder.lane, [Item(ticket, 0, 0, payload=1) for ticket in (gone, late, Ticket[int](1))])
    assert [type(outcome) for outcome in outcomes] == [RequestCancelledError, DeadlineExceededError, int]
    assert recorder.batches == [[1]]
    batcher.close()


def test_a_bad_image_fails_alone_and_a_closed_engine_says_so() -> None:
    outcomes: list[object] = []

    def settle(found: Outcomes) -> None:
        outcomes.extend(outcome for _, outcome in found)

    def fail() -> int:
        raise UndecodableImageError("bad")

    batcher, lane = Batcher(settle), Recorder().lane
    batcher.run_here(lane, [Item(Ticket(1), 0, 0, decode=decode) for decode in (int, fail, int)])
    assert [type(outcome) for outcome in outcomes] == [UndecodableImageError, int, int]
    batcher.close()
    batcher.run_here(lane, [Item(Ticket(1), 0, 0, decode=int)])
    assert isinstance(outcomes[-1], NotReadyError)
