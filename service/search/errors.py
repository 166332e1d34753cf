"""What can go wrong with a collection; each message is one sentence for the person who asked."""

__all__ = [
    "ForeignVectorsError",
    "InvalidSearchError",
    "SearchError",
    "SearchOffError",
    "StoreBusyError",
    "StoreFailedError",
    "UnknownCollectionError",
    "UnknownItemError",
]


class SearchError(Exception):
    """Anything a collection refuses or fails to do."""


class SearchOffError(SearchError):
    """There is no store: none was named, or its library is not installed."""


class InvalidSearchError(SearchError):
    """A name, an id, a payload or a filter that cannot be one."""


class UnknownCollectionError(SearchError):
    """No such collection is there."""


class UnknownItemError(SearchError):
    """The collection has no such item."""

    def __init__(self, collection: str, item: str) -> None:
        super().__init__(f"The collection {collection!r} has no item {item[:100]!r}.")


class ForeignVectorsError(SearchError):
    """Vectors of another fingerprint than the collection's."""


class StoreBusyError(SearchError):
    """Others write to the collection too often for this write to be done.

    Attributes:
        retry_after_s: Seconds after which to try again.
    """

    retry_after_s = 1.0


class StoreFailedError(SearchError):
    """The store cannot be reached, or failed; its own words are in the log, not in the message."""
