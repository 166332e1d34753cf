"""Which images of a source without a test split of its own are held out.

Images are put in the order of a hash of their names. The test split is the head of that order, so it is the same
every time, hardly moves when images are added, and both splits are slices of one array.
"""

import hashlib
import os
from collections.abc import Iterable

__all__ = ["count_held_out", "rank"]

_TEST_SHARE = 0.1


def rank(name: str) -> float:
    """A fixed pseudo-random number in [0, 1) for the name of an image."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8]) / 2**64


def count_held_out(ranks: Iterable[float]) -> int:
    """How many images are held out: about a tenth, at least one, and never all.

    Args:
        ranks: Those of at least two images.
    """
    held_out = [value < _TEST_SHARE for value in ranks]
    return min(max(sum(held_out), 1), len(held_out) - 1)
