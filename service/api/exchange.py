"""From a request to its outcomes, the same for every POST route: read, check, submit, wait.

The wait ends with the outcomes, the deadline, or the client's leaving, whichever comes first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from starlette.requests import Request

from service.api.errors import TABLE, ItemError, UnprocessableError, problem_of
from service.api.inputs import asked_priority, query_options, read_form
from service.api.json_items import GivenEmbedding, Item
from service.api.limits import Body, BodyShare, Deadline
from service.api.options import Options, parse_options
from service.api.repository import Repository
from service.api.settings import Settings
from service.api.waiting import outcomes_of
from service.engine.engine import Engine, Task
from service.engine.errors import InferenceError
from service.engine.images import ImageError, InputSpec
from service.engine.priority import Priority
from service.engine.ticket import Ticket, Timings

__all__ = ["Asked", "Call", "Outcomes", "receive", "receive_call"]

OptionsT = TypeVar("OptionsT", bound=Options)
T = TypeVar("T")
_SIDES = ("left", "right")


@dataclass(frozen=True)
class Outcomes(Generic[T]):
    """What became of the images.

    Attributes:
        results: One for each image, None for one that was skipped.
        errors: `{"index", "detail"}` of each that was skipped.
        timings: The longest that any of them took in each stage.
    """

    results: list[T | None]
    errors: list[dict[str, Any]]
    timings: Timings


@dataclass(frozen=True)
class Asked(Generic[OptionsT]):
    """What a body asks for, in whichever contract it was written.

    Attributes:
        options: Checked.
        lists: Items by list: `images`, `latents`, or `left` and perhaps `right`.
    """

    options: OptionsT
    lists: dict[str, list[Item]]


@dataclass(frozen=True)
class Call(Generic[OptionsT]):
    """A request that was read and understood, and the model it is for; a context manager that gives its bytes back."""

    request: Request
    deadline: Deadline
    options: OptionsT
    engine: Engine
    lists: dict[str, list[Item]]
    share: BodyShare

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.share.__exit__(kind, error, trace)

    @property
    def priority(self) -> Priority:
        """The one that was asked for, or interactive."""
        return self.options.priority or "interactive"

    async def run(self, items: Sequence[Any], task: Task) -> tuple[list[Any], Timings]:
        """Submits images, or latents to decode, and waits.

        Returns:
            One outcome for each, a result or its own error; and the timings.

        Raises:
            DeadlineExceededError: Too late.
            ClientDisconnect: Nobody waits any more.
            EngineError: Not admitted.
        """
        loop, left_s = asyncio.get_running_loop(), self.deadline.left_s
        ticket: Ticket[Any] = self.engine.submit(
            items,
            task,
            priority=self.priority,
            deadline_s=left_s,
            post=loop.call_soon_threadsafe,
            soon=loop.call_soon,
        )
        outcomes = await outcomes_of(ticket, self.request.receive, left_s)
        self.repository.metrics.stages(ticket.timings, self.priority)
        return outcomes, ticket.timings

    @property
    def repository(self) -> Repository:
        """The models of the server."""
        repository: Repository = self.request.app.state.repository
        return repository

    async def run_all(self, task: Task, on_error: Literal["fail", "skip"]) -> Outcomes[Any]:
        """Runs the list `images`; a bad one fails the request, or is skipped.

        Raises:
            ItemError: The first bad image, when they are not skipped.
        """
        outcomes, timings = await self.run(self.lists["images"], task)
        errors: list[dict[str, Any]] = []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                error = self.item_error(outcome, index)
                if on_error == "fail":
                    raise error
                errors.append({"index": index, "detail": problem_of(error).detail})
        return Outcomes([None if isinstance(outcome, Exception) else outcome for outcome in outcomes], errors, timings)

    def item_error(self, outcome: Exception, index: int, side: str | None = None) -> ItemError:
        """What is wrong with one item alone; what is wrong with the whole request is raised instead."""
        if isinstance(outcome, ImageError):
            self.repository.metrics.image_errors.labels(TABLE[type(outcome)].name).inc()
        elif not isinstance(outcome, InferenceError):
            raise outcome
        return ItemError(outcome, index, side)


async def receive_call(
    request: Request,
    options: type[OptionsT],
    names: Sequence[str],
    aside: Callable[[bytes], Asked[Any] | None] = lambda _: None,
) -> Call[OptionsT]:
    """Reads a request in one of the native forms; see `receive`.

    Args:
        request: Of a POST route.
        options: What the route may be asked for.
        names: The lists of items that it takes.
        aside: Reads a JSON body in a contract that shares the path, whose options the call then has; None for others.

    Raises:
        ApiError: It is refused; see the table in `errors`.
    """
    query = query_options(request)
    max_items = request.app.state.settings.max_items

    async def read(body: Body) -> Asked[OptionsT]:
        form = await read_form(request, query, names, body, max_items, aside=aside)
        if isinstance(form, Asked):
            return form
        return Asked(parse_options(options, form.options), form.lists)

    # Two lists may be of embeddings alone, which need no room.
    return await receive(request, read, asked_priority(query), needs_room=len(names) == 1)


async def receive(
    request: Request,
    read: Callable[[Body], Awaitable[Asked[OptionsT]]],
    priority: Priority = "interactive",
    *,
    needs_room: bool = True,
) -> Call[OptionsT]:
    """Reads a request; its bytes count as held until the call's block ends.

    Args:
        request: Of a POST route.
        read: Understands the body.
        priority: As far as it is known before the body is.
        needs_room: Where the queue has no room for a single image, do not read the body: the server drops it as it
            arrives.

    Raises:
        ApiError: It is refused; see the table in `errors`.
    """
    state = request.app.state
    repository: Repository = state.repository
    settings: Settings = state.settings
    deadline = Deadline.of(request, settings.request_timeout_s)
    request.state.priority = priority
    if needs_room:
        repository.check_room(priority, deadline.left_s)
    share: BodyShare = state.budget.share(priority)
    try:
        asked = await read(Body(request, share, settings.max_body_bytes, deadline))
        request.state.items = sum(map(len, asked.lists.values()))
        engine = repository.get(asked.options.model)
        for name, items in asked.lists.items():
            side = name if name in _SIDES else None
            _check_items(items, engine.manifest.input, engine.manifest.embedding.dim, side)
        call = Call(request, deadline, asked.options, engine, asked.lists, share)
    except BaseException:
        share.shrink(share.held_bytes)
        raise
    request.state.priority = call.priority
    return call


def _check_items(items: Sequence[Item], spec: InputSpec, dim: int, side: str | None) -> None:
    """Pixels and vectors must have the model's own shape: nothing tells that they should be resized."""
    height, width, channels = spec.shape
    shapes = {spec.shape, (height, width)} if channels == 1 else {spec.shape}
    for index, item in enumerate(items):
        if isinstance(item, bytes):
            continue
        if isinstance(item, GivenEmbedding):
            found = {vector.size for vector in (item.mean, item.variance) if vector is not None}
            if found != {dim}:
                text = f"Expected vectors of {dim} numbers, the model's dimension; found {sorted(found)}."
                raise ItemError(UnprocessableError(text), index, side)
        elif item.shape not in shapes:
            raise UnprocessableError(
                f"Expected a .npy batch of shape [N, {height}, {width}, {channels}], as the model takes it; "
                f"found items of shape {list(item.shape)}. Send encoded images to have them resized."
            )
