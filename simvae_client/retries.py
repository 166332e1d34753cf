"""When a request is sent once more, and how long to wait before."""

import email.utils
import random
import time
from dataclasses import dataclass

import httpx

__all__ = ["Outcome", "Retries"]

Outcome = httpx.Response | httpx.RequestError

_FIRST_WAIT_S = 0.25
_SPREAD = 0.25
_AGAIN = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})


@dataclass(frozen=True)
class Retries:
    """How patient a client is with a service that is busy, loading or not there yet.

    A request is repeated after 429 and 503, and when no connection could be made, so that none of it was sent; never
    when it was cut off in between. Waits are what the service asks for (`Retry-After`), or else 0.25 s and twice as
    long each time; up to a quarter more, so that not all who were sent away come back at the same moment.

    Attributes:
        limit: How often one request is repeated; 0 is never.
        longest_wait_s: Who asks for a longer wait than this is not asked again.
    """

    limit: int = 6
    longest_wait_s: float = 30.0

    def wait_s(self, attempt: int, outcome: Outcome) -> float | None:
        """How long to wait before a request is repeated; None if it is not.

        Args:
            attempt: How often it was repeated already.
            outcome: Of the last time.
        """
        if attempt >= self.limit:
            return None
        asked_s = 0.0
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in _AGAIN:
                return None
            asked_s = _retry_after_s(outcome.headers.get("Retry-After"))
            if asked_s > self.longest_wait_s:
                return None
        elif not isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
            return None
        own_s = min(_FIRST_WAIT_S * 2**attempt, self.longest_wait_s)
        return (asked_s or own_s) * random.uniform(1, 1 + _SPREAD)  # noqa: S311 - nothing is secret about it


def _retry_after_s(value: str | None) -> float:
    """Seconds, which may be given as a date; 0 when absent or unreadable."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
