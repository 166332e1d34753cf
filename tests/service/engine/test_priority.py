"""Bulk waits for interactive work, but not for ever, and holds a device for a slice of time only."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.priority import Turns, room, turn_size

SLICE_S = 0.01


def test_of_eight_turns_that_both_wait_for_one_is_for_bulk_and_it_is_not_the_first() -> None:
    turns = Turns()
    given = [turns.next(["interactive", "bulk"]) for _ in range(16)]
    assert given == 2 * (7 * ["interactive"] + ["bulk"])


def test_who_waits_alone_has_the_turn_and_owes_nothing_for_it() -> None:
    turns = Turns()
    assert {turns.next(["bulk"]) for _ in range(20)} == {"bulk"}
    assert {turns.next(["interactive"]) for _ in range(20)} == {"interactive"}
    assert turns.next({"bulk", "interactive"}) == "interactive"


def test_bulk_leaves_a_quarter_free_and_something_may_always_come_in() -> None:
    assert [room(size, "bulk") for size in (1, 4, 1024)] == [1, 3, 768]
    assert [room(size, "interactive") for size in (1, 4, 1024)] == [1, 4, 1024]


def settled_size(overhead_s: float, per_item_s: float, max_batch: int) -> int:
    size = 1
    for _ in range(50):
        items = min(size, max_batch)
        size = turn_size(size, items, overhead_s + items * per_item_s, SLICE_S)
    return min(size, max_batch)


def test_where_one_item_takes_as_long_as_many_turns_grow_to_many() -> None:
    assert settled_size(0.004, 0.00001, 64) == 64


@given(st.floats(1e-6, 0.004), st.floats(1e-6, 0.3), st.integers(1, 256))
def test_turns_come_to_fill_a_slice_and_never_pass_it_unless_by_one_item(
    overhead_s: float, per_item_s: float, max_batch: int
) -> None:
    size = settled_size(overhead_s, per_item_s, max_batch)
    assert size == 1 or overhead_s + size * per_item_s <= SLICE_S
    assert size == max_batch or overhead_s + 2 * size * per_item_s > SLICE_S / 2


def test_a_turn_that_found_little_waiting_says_nothing_about_many() -> None:
    assert turn_size(8, 2, 0.0001, SLICE_S) == 8
    assert turn_size(8, 0, 0.0, SLICE_S) == 8
    assert turn_size(8, 6, 1.0, SLICE_S) == 3
    assert turn_size(1, 1, 1.0, SLICE_S) == 1
