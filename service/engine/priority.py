"""Who goes first where work waits: interactive before bulk, and bulk in what interactive leaves.

Knows nothing of queues or threads: wherever something waits, its keeper asks here.
"""

from collections.abc import Collection
from typing import Literal, get_args

__all__ = ["PRIORITIES", "Priority", "Turns", "room", "turn_size"]

Priority = Literal["interactive", "bulk"]
"""interactive: somebody waits for the answer. bulk: it only has to be done."""
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

_PASSES = 7
"""How often in a row bulk is passed over: of eight turns that both wait for, one is bulk's, so it never starves."""


class Turns:
    """Gives turns at one place where work waits. Not for several threads at a time."""

    def __init__(self) -> None:
        self._passed = 0

    def next(self, waiting: Collection[Priority]) -> Priority:
        """Whose turn it is.

        Args:
            waiting: The priorities of which something waits, each once; at least one.
        """
        if len(waiting) == 1:
            return next(iter(waiting))
        self._passed = (self._passed + 1) % (_PASSES + 1)
        return "interactive" if self._passed else "bulk"


def room(size: int, priority: Priority) -> int:
    """How much of something bounded may be in use for one more of a priority to come in: bulk leaves a quarter free."""
    return size - size // 4 if priority == "bulk" else size


def turn_size(size: int, items: int, seconds: float, slice_s: float) -> int:
    """How many items the next turn of bulk may have, for it to hold the device no longer than a slice of time.

    Doubled and halved rather than divided by the time of one item: a GPU takes for one about as long as for many, so
    from the time of a small batch it would follow that batches must be small.

    Args:
        size: What the last turn might have had, at least 1.
        items: What it had.
        seconds: What it took.
        slice_s: How long a turn may hold the device.
    """
    if seconds > slice_s:
        return max(1, items // 2)
    return 2 * size if items >= size and seconds <= slice_s / 2 else size
