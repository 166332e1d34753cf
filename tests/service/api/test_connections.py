"""What processes tell each other of their connections, and which of them give up some."""

import asyncio
from collections.abc import Iterable

import pytest

from service.api.connections import ABSENT, Connections


def opened(counts: list[int], index: int, number: int) -> Connections:
    connections = Connections(counts, index)
    connections.open()
    for key in range(number):
        connections.add(key)
    return connections


def given_up(connections: Connections, keys: Iterable[int] | None = None) -> int:
    """How many of the next requests are the last of their connections."""
    return sum(connections.gives_up(key) for key in (keys if keys is not None else list(connections)))


def test_others_know_how_many_are_open_or_begin() -> None:
    counts = [ABSENT - 1, 0]

    async def come_and_go() -> list[int]:
        connections = Connections(counts, 0)
        found = [counts[0]]
        connections.open()
        found.append(counts[0])
        connections.begin(asyncio.sleep(0))
        connections.add("one")
        found.append(counts[0])
        await connections.wait_begun()
        await asyncio.sleep(0)
        found.append(counts[0])
        connections.discard("one")
        found.append(counts[0])
        connections.close()
        return [*found, counts[0]]

    assert asyncio.run(come_and_go()) == [ABSENT, 0, 2, 1, 0, ABSENT]
    assert counts[1] == 0


@pytest.mark.parametrize(
    ("own", "others", "surplus"),
    [
        (4, [0], 2),
        (64, [0], 32),
        (3, [1], 1),
        (3, [2], 0),
        (2, [4], 0),
        (1, [0], 0),
        (7, [], 0),
        (10, [10, 0], 3),
        (10, [10, ABSENT], 0),
        (10, [ABSENT, 0], 5),
    ],
)
def test_what_is_more_than_an_equal_part_at_two_looks_is_given_up(
    own: int, others: list[int], surplus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.connections._LOOK_S", 0)
    connections = opened([0, *others], 0, own)
    assert not connections.gives_up(0), "one look is not enough"
    assert given_up(connections) == surplus
    assert given_up(connections, range(own)) == 0, "those that end already count as gone"


def test_what_was_too_many_for_a_moment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.connections._LOOK_S", 0)
    counts = [0, 0]
    connections = opened(counts, 0, 4)
    for others in (0, 4, 0, 4):
        counts[1] = others
        assert not connections.gives_up(0)


def test_looks_are_apart() -> None:
    """Requests come every fraction of a millisecond, and others need a moment to take what waits for them."""
    assert given_up(opened([0, 0], 0, 4)) == 0


def test_none_is_given_up_where_others_do_not_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.connections._LOOK_S", 0)
    connections = opened([0, 0], 0, 4)
    assert not connections.gives_up(0)
    connections.keep()
    assert given_up(connections) == 0
    monkeypatch.setattr("service.api.connections._KEEP_S", 0)
    connections.keep()
    assert given_up(connections) == 2, "the first of four begins to look again"


def test_a_connection_that_ended_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.connections._LOOK_S", 0)
    counts = [0, 0]
    connections = opened(counts, 0, 4)
    connections.gives_up(0)
    ending = [key for key in range(4) if connections.gives_up(key)]
    for key in ending:
        connections.discard(key)
    counts[1] = len(ending)
    assert counts == [2, 2]
    assert given_up(connections) == 0
