"""The store of collections: LanceDB in a folder, or in an object store that several machines share.

A collection is a table. Every write is a new version of the table that becomes current in one step, so what was
acknowledged survives the end of a process at any moment, readers see all of a write or nothing, and several processes
may read and write at once. Calls block; whoever serves an event loop makes them in threads.
"""

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from service.engine.results import Floats
from service.search.errors import (
    SearchError,
    SearchOffError,
    StoreBusyError,
    StoreFailedError,
    UnknownCollectionError,
    UnknownItemError,
)
from service.search.filters import condition_of, quoted
from service.search.items import Added, Binding, Card, Item, check_name
from service.search.upkeep import needs_upkeep, tend

__all__ = ["Nearness", "Store"]

Nearness = Literal["cosine", "euclidean"]
_DISTANCES: Mapping[Nearness, str] = {"cosine": "cosine", "euclidean": "l2"}
_log = logging.getLogger(__name__)


class Store:
    """The collections of one place; safe to use from any thread.

    Args:
        place: A folder, made where there is none, or `s3://`, `gs://` or `az://` with bucket and path.

    Raises:
        SearchOffError: The library is not installed.
        StoreFailedError: The place cannot be used.
    """

    def __init__(self, place: str) -> None:
        try:
            import lancedb  # noqa: PLC0415  # an extra

            from service.search import rows  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise SearchOffError(
                f"Collections need the package {error.name}, which is not installed: install the extra 'search' "
                "(pip install 'simvae[search]') and start the server again."
            ) from error
        self._rows = rows
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        with _failures():
            # Every read looks for what other processes have written.
            self._database = lancedb.connect(place, read_consistency_interval=timedelta(0))

    def cards(self) -> list[tuple[Card, int]]:
        """Every collection and how many items it has, by name."""
        found = []
        for name in self._names():
            with contextlib.suppress(UnknownCollectionError):  # dropped meanwhile, or a table of somebody else
                found.append((self.card(name), self.count(name)))
        return found

    def find(self, name: str) -> Card | None:
        """The collection's card, or None where there is none.

        Raises:
            InvalidSearchError: It cannot be a name.
        """
        check_name(name)
        try:
            return self.card(name)
        except UnknownCollectionError:
            return None

    def card(self, name: str) -> Card:
        """The collection's card; UnknownCollectionError where there is none."""
        return self._open(name)[1]

    def count(self, name: str) -> int:
        """How many items a collection has."""
        with _failures(name):
            return int(self._open(name)[0].count_rows())

    def add(self, name: str, binding: Binding, items: Sequence[Item]) -> Added:
        """Adds items, or replaces those of the same ids; makes the collection where there is none.

        All of them are there when it returns, and none if it raises before it wrote. Adding again is harmless.

        Args:
            name: Of the collection.
            binding: Of the vectors.
            items: At least one, each id once.

        Raises:
            InvalidSearchError: The name, or a payload.
            ForeignVectorsError: The collection is of another fingerprint.
            StoreBusyError: Other processes write to it all the time.
            StoreFailedError: The store failed.
        """
        check_name(name)
        with _failures(name), self._writing[name]:
            table, card = self._open_or_make(name, binding)
            card.check(binding)
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            done = merge.execute(self._rows.to_rows(items, card))
        return Added(done.num_inserted_rows, done.num_updated_rows)

    def nearest(
        self,
        name: str,
        query: Floats,
        count: int,
        by: Nearness,
        where: Mapping[str, Any],
        without: str | None = None,
    ) -> list[Item]:
        """The items nearest to a vector, nearest first.

        Args:
            name: Of the collection.
            query: Shape [D].
            count: How many at most.
            by: What is near.
            where: A filter on payloads; see `filters`.
            without: An id to leave out.

        Raises:
            InvalidSearchError: The filter.
            UnknownCollectionError: No such collection.
            StoreFailedError: The store failed.
        """
        conditions = [condition_of(where)] if where else []
        conditions += [] if without is None else [f"id != {quoted(without)}"]
        with _failures(name):
            search = self._open(name)[0].search(query, vector_column_name="embedding").distance_type(_DISTANCES[by])
            if conditions:
                search = search.where(" AND ".join(conditions), prefilter=True)
            # All cells of an index may be visited, if that is what it takes to find so many.
            search = (
                search.limit(count).maximum_nprobes(0) if by == "cosine" else search.limit(count).bypass_vector_index()
            )
            search = search.select([*self._rows.COLUMNS, "_distance"])
            return self._rows.from_rows(search.to_arrow())

    def items(self, name: str, ids: Sequence[str]) -> dict[str, Item]:
        """Those of the items that the collection has, by id; UnknownCollectionError where there is no collection."""
        with _failures(name):
            search = self._open(name)[0].search().where(f"id IN ({', '.join(map(quoted, ids))})")
            table = search.select(list(self._rows.COLUMNS)).limit(len(ids)).to_arrow()
            return {item.id: item for item in self._rows.from_rows(table)}

    def delete_item(self, name: str, item: str) -> None:
        """Takes an item out of a collection; it is gone when this returns.

        Raises:
            UnknownCollectionError: No such collection.
            UnknownItemError: No such item.
        """
        with _failures(name), self._writing[name]:
            if not self._open(name)[0].delete(f"id = {quoted(item)}").num_deleted_rows:
                raise UnknownItemError(name, item)

    def drop(self, name: str) -> None:
        """Deletes a collection with all its items; UnknownCollectionError where there is none."""
        with _failures(name), self._writing[name]:
            self._open(name)
            self._database.drop_table(name)

    def tend(self, name: str) -> None:
        """Keeps a collection quick, when enough was written; whatever fails is logged, and tried again another time.

        Others read and write meanwhile; of two that tend it at once, one fails.
        """
        try:
            table = self._open(name)[0]
            if needs_upkeep(table):
                tend(table)
        except (SearchError, OSError, RuntimeError, ValueError) as error:
            _log.warning("upkeep of collection %s failed and is tried again later: %s", name, error)

    def _names(self) -> list[str]:
        names: list[str] = []
        page: str | None = None
        with _failures():
            while True:
                answer = self._database.list_tables(page_token=page)
                names += answer.tables
                page = answer.page_token
                if not page:
                    return sorted(names)

    def _open(self, name: str) -> tuple[Any, Card]:
        check_name(name)
        with _failures(name):
            table = self._database.open_table(name)
            card = self._rows.card_of(table.schema)
        if card is None:
            raise UnknownCollectionError(f"{name!r} in the store is a table, but no collection that this service made.")
        return table, card

    def _open_or_make(self, name: str, binding: Binding) -> tuple[Any, Card]:
        with contextlib.suppress(UnknownCollectionError):
            return self._open(name)
        card = Card(name, binding, datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            return self._database.create_table(name, schema=self._rows.schema_of(card)), card
        except ValueError:  # another process has just made it
            return self._open(name)


@contextlib.contextmanager
def _failures(name: str = "") -> Iterator[None]:
    """Turns what the library raises, plain RuntimeErrors and ValueErrors told apart by their text, into our errors."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error).lower()
        if name and "not found" in text:
            raise UnknownCollectionError(f"There is no collection {name!r}; adding items makes one.") from error
        if "concurrent" in text or "conflict" in text:
            raise StoreBusyError(f"Others write to the collection {name!r} at the same time; try again.") from error
        _log.exception("the store of collections failed")
        raise StoreFailedError("The store of the collections failed; the server's log says why.") from error
