"""Every waiting thread is told once, whatever became of the request."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from service.engine.errors import DeadlineExceededError, RequestCancelledError
from service.engine.ticket import Item, Ticket, announce, settle


def finished(post: Callable[[Callable[[], None]], object] | None = None) -> Ticket[str]:
    ticket: Ticket[str] = Ticket(1, post=post)
    assert settle([(Item(ticket, 0, 0), "done")]) == [ticket]
    return ticket


def test_a_ticket_is_finished_by_its_last_item_and_keeps_the_order() -> None:
    ticket, now = Ticket[str](3), time.perf_counter()
    c = Item(ticket, 2, 0, admitted_at=now - 7, decoded_at=now - 5, started_at=now - 5)
    a = Item(ticket, 0, 0, admitted_at=now - 8, decoded_at=now - 8, started_at=now - 1)
    b = Item(ticket, 1, 0, admitted_at=now - 3, decoded_at=now - 2, started_at=now - 1)
    assert settle([(c, "c"), (a, "a")]) == []
    assert settle([(b, "b")]) == [ticket]
    assert not ticket.future.done()
    announce([ticket])
    assert ticket.future.result() == ["a", "b", "c"]
    found = ticket.timings
    assert (found.decode_s, found.queue_s, found.inference_s) == pytest.approx((2, 7, 5), abs=0.5)


def test_items_of_several_tickets_are_settled_together() -> None:
    first, second = Ticket[str](2), Ticket[str](1)
    assert settle([(Item(first, 0, 0), "a"), (Item(second, 0, 0), "b"), (Item(first, 1, 0), "c")]) == [second, first]
    announce([first, second])
    assert first.future.result() == ["a", "c"]
    assert second.future.result() == ["b"]


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
    assert settle([(Item(ticket, 0, 0), "late")]) == [ticket]
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
    assert settle([(item, "undecodable")]) == [ticket]
    assert ticket.timings.decode_s == pytest.approx(2, abs=0.5)
    assert ticket.timings.queue_s == ticket.timings.inference_s == 0
