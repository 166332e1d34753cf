"""Small matrices are multiplied by one thread: more of them gain nothing, and lose a lot where cores are busy."""

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch and the linear algebra of numpy and scikit-learn use one thread of the CPU; also a decorator.

    A fit of thousands of tiny steps that waits for a second thread at every one of them was measured ten times slower
    on two busy cores. It also repeats to the bit whatever the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
