"""Every waiting thread is told once, whatever became of the request."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from service.engine.errors import DeadlineExceededError, RequestCancelledError
from service.engine.ticket import Item, Ticket, Timings, announce


def finished(post: Callable[[Callable[[], None]], object] | None = None) -> Ticket[str]:
    ticket: Ticket[str] = Ticket(1, post=post)
    assert ticket.settle(0, "done")
    return ticket


def test_a_ticket_is_finished_by_its_last_item_and_keeps_the_order() -> None:
    ticket: Ticket[str] = Ticket(3)
    assert not ticket.settle(2, "c", decode_s=1, inference_s=5)
    assert not ticket.settle(0, "a", queue_s=7)
    assert ticket.settle(1, "b", decode_s=2, inference_s=1)
    assert not ticket.future.done()
    announce([ticket])
    assert ticket.future.result() == ["a", "b", "c"]
    assert ticket.timings == Timings(2, 7, 5)


def test_a_ticket_of_nothing_is_done() -> None:
    assert Ticket(0).future.result(0) == []


def test_tickets_of_one_loop_are_announced_with_one_call() -> None:
    calls: list[Callable[[], None]] = []
    tickets = [finished(calls.append) for _ in range(3)]
    other = finished()
    announce([*tickets, other])
    assert len(calls) == 1
    assert other.future.done()
    assert not tickets[0].future.done()
    calls[0]()
    assert all(ticket.future.result() == ["done"] for ticket in tickets)


def test_a_closed_event_loop_does_not_leave_the_future_open() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    ticket = finished(loop.call_soon_threadsafe)
    announce([ticket])
    assert ticket.future.result(0) == ["done"]


def test_a_cancelled_ticket_refuses_work_and_is_not_disturbed_by_its_end() -> None:
    ticket: Ticket[str] = Ticket(1)
    assert ticket.refusal() is None
    assert ticket.cancel()
    assert isinstance(ticket.refusal(), RequestCancelledError)
    assert ticket.settle(0, "late")
    announce([ticket])
    with pytest.raises(CancelledError):
        ticket.future.result(0)
    done = finished()
    announce([done])
    assert not done.cancel()


def test_a_deadline_passes() -> None:
    assert Ticket(1, deadline_s=60).refusal() is None
    assert isinstance(Ticket(1, deadline_s=0).refusal(), DeadlineExceededError)
    assert isinstance(Ticket(1, deadline_s=-1).refusal(), DeadlineExceededError)


def test_phases_that_an_item_never_reached_take_no_time() -> None:
    ticket: Ticket[str] = Ticket(1)
    item = Item(ticket, 0, 0, admitted_at=time.perf_counter() - 2)
    assert item.settle("undecodable")
    assert ticket.timings.decode_s == pytest.approx(2, abs=0.5)
    assert ticket.timings.queue_s == ticket.timings.inference_s == 0
