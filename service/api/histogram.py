"""A histogram that counts many observations at a time."""

from collections.abc import Sequence

import numpy as np
from prometheus_client import Histogram

__all__ = ["ManyHistogram"]


class ManyHistogram(Histogram):
    """A Prometheus histogram; to observe one value after the other takes longer than to route a request."""

    def observe_many(self, amounts: Sequence[float]) -> None:
        """The same as `observe` for each of the amounts, at the price of a few."""
        places = np.searchsorted(self._upper_bounds, amounts)  # the library has no public way to count several
        for place, count in enumerate(np.bincount(places)):
            if count:
                self._buckets[place].inc(int(count))
        self._sum.inc(float(np.sum(amounts)))
