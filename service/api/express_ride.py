"""One express request on its way through the engine's queue: it ends with its embeddings, its deadline, or an error.

Knows neither HTTP nor servers. Lives on an event loop, which calls everything here.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from service.engine.engine import Engine, ImageInput
from service.engine.errors import DeadlineExceededError, EngineError, InferenceError
from service.engine.prompt import PromptResult
from service.engine.ticket import Ticket

__all__ = ["Ride", "Tell"]

Tell = Callable[[PromptResult | EngineError | None], None]
"""Takes what became of a request: its embeddings, why all of it was refused, or nothing if the fault is an image's."""


class Ride:
    """A ticket and the one who waits for it.

    Args:
        engine: Embeds.
        images: At least one.
        within_s: Seconds until it is too late.
        tell: Called once, unless it is left before.
        loop: Where it is called.

    Raises:
        EngineError: Not admitted.
    """

    def __init__(
        self,
        engine: Engine,
        images: Sequence[ImageInput],
        within_s: float,
        tell: Tell,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._tell: Tell | None = tell
        self._ticket: Ticket[Any] = engine.submit(
            images, "embed", deadline_s=within_s, post=loop.call_soon_threadsafe, soon=loop.call_soon
        )
        self._timer = loop.call_later(within_s, self._expire)
        self._ticket.future.add_done_callback(self._arrive)

    def leave(self) -> None:
        """Drops what no batch has started: nobody waits any more."""
        self._end()

    def _arrive(self, future: "Future[list[Any]]") -> None:
        if not future.cancelled() and (tell := self._end()):
            tell(_result_of(future.result(), self._ticket))

    def _expire(self) -> None:
        if tell := self._end():
            tell(DeadlineExceededError("The answer was not ready in time."))

    def _end(self) -> Tell | None:
        tell, self._tell = self._tell, None
        self._timer.cancel()
        self._ticket.cancel()
        return tell


def _result_of(outcomes: list[Any], ticket: Ticket[Any]) -> PromptResult | EngineError | None:
    for outcome in outcomes:
        if isinstance(outcome, EngineError) and not isinstance(outcome, InferenceError):
            return outcome
        if isinstance(outcome, Exception):
            return None
    return PromptResult(np.stack([outcome.mean for outcome in outcomes]), ticket.timings)
