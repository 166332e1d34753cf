"""One thread within, and afterwards as many as before, whatever happened."""

import pytest
import torch

from training.evaluation.threads import one_thread


@one_thread()
def divide_by_zero() -> float:
    assert torch.get_num_threads() == 1
    return 1 / 0


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            divide_by_zero()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
