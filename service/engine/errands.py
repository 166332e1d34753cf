"""Calls that certain threads are to make between their work, and who waits for them. Its owner's lock guards it."""

from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["Errand", "Errands"]

Call = Callable[[int], None]
"""Takes the number of the thread that makes it."""


class Errand:
    """A call that a thread has to make.

    Attributes:
        done: Has no result, or the error that the call raised.
    """

    def __init__(self, number: int, call: Call) -> None:
        self._number, self._call = number, call
        self.done: Future[None] = Future()

    def make(self) -> None:
        """Makes the call, and tells who waits; an `Exception` goes no further."""
        try:
            self._call(self._number)
        except BaseException as error:
            self.done.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.done.set_result(None)


class Errands:
    """At most one for each thread."""

    def __init__(self) -> None:
        self._waiting: dict[int, Errand] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    def give(self, number: int, call: Call) -> Future[None]:
        """Leaves a call for a thread that has none."""
        errand = self._waiting[number] = Errand(number, call)
        return errand.done

    def take(self, number: int) -> Errand | None:
        """What a thread has to make, if anything."""
        return self._waiting.pop(number, None)

    def refuse(self, error: Exception) -> None:
        """Ends what no thread will make any more."""
        while self._waiting:
            self._waiting.popitem()[1].done.set_exception(error)
