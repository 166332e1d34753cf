"""One express request in the engine's queue, until its embeddings, an error or its deadline has come.

Knows no HTTP. Lives on an event loop, which calls everything here.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from service.api.errors import ItemError
from service.api.waiting import TOO_LATE
from service.engine.engine import Engine, ImageInput
from service.engine.errors import DeadlineExceededError, EngineError, InferenceError
from service.engine.prompt import PromptResult
from service.engine.ticket import Ticket

__all__ = ["QueuedRequest"]


class QueuedRequest:
    """A ticket and the one who waits for it.

    Args:
        engine: Embeds.
        images: At least one.
        within_s: Seconds until it is too late.
        tell: Called once with the embeddings, or with why there are none, unless it is cancelled before.
        loop: Where it is called.

    Raises:
        EngineError: Not admitted.
    """

    def __init__(
        self,
        engine: Engine,
        images: Sequence[ImageInput],
        within_s: float,
        tell: Callable[[PromptResult | Exception], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._tell, self._open = tell, True
        self._ticket: Ticket[Any] = engine.submit(
            images, "embed", deadline_s=within_s, post=loop.call_soon_threadsafe, soon=loop.call_soon
        )
        self._timer = loop.call_later(within_s, self._expire)
        self._ticket.future.add_done_callback(self._finish)

    def cancel(self) -> None:
        """Drops what no batch has started: nobody waits any more."""
        self._open = False
        self._timer.cancel()
        self._ticket.cancel()

    def _finish(self, future: "Future[list[Any]]") -> None:
        if self._open:
            self.cancel()
            self._tell(_result_of(future.result(), self._ticket))

    def _expire(self) -> None:
        self.cancel()
        self._tell(DeadlineExceededError(TOO_LATE))


def _result_of(outcomes: Sequence[Any], ticket: Ticket[Any]) -> PromptResult | Exception:
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, EngineError) and not isinstance(outcome, InferenceError):
            return outcome
        if isinstance(outcome, Exception):
            return ItemError(outcome, index)
    return PromptResult(np.stack([outcome.mean for outcome in outcomes]), ticket.timings)
