"""Work that is too large for the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["off_loop"]

T = TypeVar("T")
_LARGE_BYTES = 64 * 1024


async def off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Runs small work here and large work in a thread, so that no request holds up the others."""
    return work() if size_bytes <= _LARGE_BYTES else await asyncio.to_thread(work)
