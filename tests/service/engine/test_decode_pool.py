"""Every job is done once, interactive ones first, and bulk ones though others keep coming."""

import functools
import threading
from collections.abc import Iterator

import pytest

from service.engine.decode_pool import DecodePool

WAIT_S = 20


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def occupied(gate: threading.Event) -> DecodePool:
    """A pool whose only thread waits at the gate, so that what is put next gathers."""
    pool, busy = DecodePool(1), threading.Event()

    def wait() -> None:
        busy.set()
        assert gate.wait(WAIT_S)

    pool.put(wait, "interactive")
    assert busy.wait(WAIT_S)
    return pool


def test_what_comes_later_but_is_interactive_goes_first_and_each_priority_keeps_its_order(
    gate: threading.Event,
) -> None:
    pool, done = occupied(gate), list[str]()
    for name in ("b1", "b2"):
        pool.put(functools.partial(done.append, name), "bulk")
    for name in ("i1", "i2", "i3"):
        pool.put(functools.partial(done.append, name), "interactive")
    gate.set()
    pool.close()
    assert done == ["i1", "i2", "i3", "b1", "b2"]


def test_bulk_gets_its_share_though_interactive_jobs_never_end(gate: threading.Event) -> None:
    pool, done = occupied(gate), list[str]()
    for _ in range(3):
        pool.put(functools.partial(done.append, "b"), "bulk")
    for _ in range(30):
        pool.put(functools.partial(done.append, "i"), "interactive")
    gate.set()
    pool.close()
    assert "".join(done) == "iiiiiiib" * 3 + "i" * 9


def test_after_the_end_a_job_is_done_where_it_was_put() -> None:
    pool, threads = DecodePool(2), list[int]()
    pool.close()
    pool.put(lambda: threads.append(threading.get_ident()), "bulk")
    assert threads == [threading.get_ident()]
