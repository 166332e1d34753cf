"""Keeping a table quick: every write leaves a small file, and only large tables need an index.

A table is searched exactly, row by row, until it has `INDEX_ROWS` rows. Then an index divides the vectors among cells,
of which a search visits the nearest; rows that came later are searched exactly until upkeep adds them to it.
"""

import math
from datetime import timedelta
from typing import Any

__all__ = ["INDEX_ROWS", "needs_upkeep", "tend"]

INDEX_ROWS = 50_000
"""Searching fewer rows one by one takes milliseconds."""
_MOST_SMALL_FILES = 32
_KEPT = timedelta(hours=1)
"""How long files stay that no row needs any more; a search that began before must not miss them."""
_REGROWN = 4
"""An index is made anew once there are so many times as many rows."""
_PREFIX = "cosine_of_"


def needs_upkeep(table: Any) -> bool:
    """Whether so much was written since the last time that it pays."""
    return bool(table.stats()["fragment_stats"]["num_small_fragments"] > _MOST_SMALL_FILES)


def tend(table: Any, *, index_rows: int = INDEX_ROWS) -> None:
    """Merges small files, and makes or extends the index; others may read and write meanwhile."""
    from lancedb.index import BTree, IvfFlat  # noqa: PLC0415  # an extra

    table.optimize(cleanup_older_than=_KEPT)
    rows = table.count_rows()
    indexed = [index.name for index in table.list_indices() if index.name.startswith(_PREFIX)]
    made_for = max((int(name.removeprefix(_PREFIX)) for name in indexed), default=0)
    if rows < max(index_rows, _REGROWN * made_for):
        return
    config = IvfFlat(distance_type="cosine", num_partitions=round(math.sqrt(rows)))
    table.create_index("embedding", config=config, name=f"{_PREFIX}{rows}")
    for name in indexed:
        table.drop_index(name)
    if not indexed:
        table.create_index("id", config=BTree())
