"""Waiting for a ticket on the event loop: it ends with the outcomes, the deadline, or the client's leaving."""

import asyncio
import functools
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.engine.errors import DeadlineExceededError
from service.engine.ticket import Ticket

__all__ = ["TOO_LATE", "outcomes_of"]

TOO_LATE = "The answer was not ready in time."

_PATIENCE_S = 0.02
"""How long a request waits before somebody looks whether its client is still there: most have their answer by then."""


async def outcomes_of(ticket: Ticket[Any], receive: Receive, left_s: float) -> list[Any]:
    """What became of a ticket's items; items that no batch has started are dropped when the wait ends otherwise.

    Args:
        ticket: Its `post` runs functions on this event loop.
        receive: The request's, whose body was read: what comes next is its client's leaving.
        left_s: Seconds until the deadline.

    Raises:
        DeadlineExceededError: Too late.
        ClientDisconnect: Nobody waits any more.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Exception | None] = loop.create_future()
    watches: list[asyncio.Task[None]] = []
    gone, too_late = ClientDisconnect(), DeadlineExceededError(TOO_LATE)

    def end(error: Exception | None) -> None:
        if not ended.done():
            ended.set_result(error)

    def watch() -> None:
        watches.append(loop.create_task(_disconnected(receive)))
        watches[0].add_done_callback(lambda _: end(gone))

    ticket.future.add_done_callback(lambda _: end(None))
    timers = loop.call_later(left_s, functools.partial(end, too_late)), loop.call_later(_PATIENCE_S, watch)
    try:
        if error := await ended:
            raise error
        return ticket.future.result()
    finally:
        for timer in timers:
            timer.cancel()
        for task in watches:
            task.cancel()
        ticket.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
