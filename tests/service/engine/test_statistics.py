"""What a model has done is counted once, whoever asked and however it went."""

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.errors import QueueFullError
from service.engine.images import ImageError
from service.engine.lane import Lane
from service.engine.runtime import Runtime, Work
from service.engine.statistics import Counts
from service.engine.ticket import Ticket

BLACK = np.zeros((28, 28, 1), np.uint8)


@pytest.fixture
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    runtime = Runtime(max_items=8, max_batch=4)
    with contextlib.closing(runtime), Engine.load(tiny_bundle, device="cpu", runtime=runtime) as engine:
        yield engine


def requests(counts: Counts) -> tuple[int, int]:
    return counts.succeeded.count, counts.failed.count


def test_a_model_that_was_only_loaded_has_done_nothing(engine: Engine) -> None:
    assert all(statistics.counts() == Counts() for statistics in engine.statistics.values())


def test_requests_and_batches_of_both_priorities_count_for_their_task_alone(engine: Engine) -> None:
    started = time.time()
    engine.submit([BLACK] * 3, "embed").future.result(10)
    engine.submit([BLACK], "embed", priority="bulk").future.result(10)
    engine.submit([np.zeros(4, np.float32)], "decode").future.result(10)
    counts = engine.statistics["embed"].counts()
    assert requests(counts) == (2, 0)
    assert sum(size * total.count for size, total in counts.batches.items()) == 4
    assert started <= counts.last_run_at <= time.time()
    assert counts.succeeded.seconds >= counts.inference.seconds > 0
    assert {total.count for total in (counts.decode, counts.queue, counts.inference)} == {2}
    assert requests(engine.statistics["decode"].counts()) == (1, 0)
    assert requests(engine.statistics["reconstruct"].counts()) == (0, 0)


def test_the_library_is_counted_too(engine: Engine) -> None:
    engine.embed([BLACK] * 20)
    counts = engine.statistics["embed"].counts()
    assert requests(counts) == (1, 0)
    assert set(counts.batches) <= {1, 2, 3, 4}


def test_a_bad_image_and_a_passed_deadline_are_failures_and_a_refused_one_is_nothing(engine: Engine) -> None:
    with pytest.raises(ImageError):
        engine.embed([BLACK, b"no image"])
    release = threading.Event()
    blocking: Ticket[Any] = Ticket(8)
    engine.runtime.submit(blocking, [Work(1, release.wait)] * 8, Lane(list, 1), engine.model.device)
    with pytest.raises(QueueFullError):
        engine.submit([BLACK], "embed")
    release.set()
    blocking.future.result(10)
    engine.submit([BLACK], "embed", deadline_s=-1).future.result(10)
    assert requests(engine.statistics["embed"].counts()) == (0, 2)


def test_counting_keeps_no_request_alive(engine: Engine) -> None:
    gc.disable()
    try:
        ticket: Ticket[Any] = engine.submit([BLACK], "embed")
        ticket.future.result(10)
        there = weakref.ref(ticket)
        del ticket
        end = time.monotonic() + 10
        while there() is not None and time.monotonic() < end:
            time.sleep(0.01)  # until the thread that ran it has let go
        assert there() is None
    finally:
        gc.enable()
