"""What chooses settings is apart from what they are fitted on, and has the same mix of classes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.split import choose_items, split_training


@given(st.lists(st.integers(0, 4), min_size=10, max_size=400), st.integers(0, 9))
def test_the_parts_are_disjoint_complete_and_stratified(labels: list[int], seed: int) -> None:
    known = np.array(labels)
    split = split_training(known, seed)
    assert sorted([*split.fit, *split.validation]) == list(range(len(known)))
    assert abs(len(split.validation) - len(known) / 10) <= 1
    for label in range(5):
        assert abs((known[split.validation] == label).sum() - (known == label).sum() / 10) <= 1


def test_the_same_seed_splits_alike_and_another_one_differently() -> None:
    labels = np.arange(500) % 7
    first, again, other = (split_training(labels, seed).validation for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_items_leave_none_aside() -> None:
    split = split_training(np.zeros(9, np.int64), 0)
    assert (len(split.fit), len(split.validation)) == (9, 0)


def test_items_are_chosen_from_everywhere_and_none_twice() -> None:
    chosen = choose_items(10_000, 500, seed=0)
    assert len(np.unique(chosen)) == 500
    assert np.histogram(chosen, 5, (0, 10_000))[0].min() > 60
    assert choose_items(5, 8, seed=0).tolist() == [0, 1, 2, 3, 4]
