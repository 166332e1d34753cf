"""Requests whose headers are found in one step; Starlette compares a name with every header, at every lookup."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request

__all__ = ["IndexedRequest"]


class _IndexedHeaders(Headers):
    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=list(raw))
        self._first = dict(reversed(raw))  # of several by one name, the first counts, as with Starlette

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower().encode("latin-1")].decode("latin-1")

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class IndexedRequest(Request):
    """A request of which several headers are looked up."""

    @property
    def headers(self) -> Headers:
        """Those of the request."""
        if not hasattr(self, "_headers"):
            self._headers: Headers = _IndexedHeaders(self.scope["headers"])
        return self._headers
