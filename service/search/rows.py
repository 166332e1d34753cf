"""Items as rows of an Arrow table, and the card of a collection in the table's metadata."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from service.search.items import Binding, Card, Item, encode_payload

__all__ = ["COLUMNS", "card_of", "from_rows", "schema_of", "to_rows"]

COLUMNS = ("id", "embedding", "variance", "payload")
_ABOUT = b"simvae"
_KEY = {"lance-schema:unenforced-primary-key": "true", "lance-schema:unenforced-primary-key:position": "1"}
"""By it, writers that add the same new id at once notice each other; Lance's table format names it."""


def schema_of(card: Card) -> Any:
    """The columns of a collection's table."""
    vector = pa.list_(pa.float32(), card.binding.dim)
    fields = [
        pa.field("id", pa.string(), nullable=False, metadata=_KEY),
        pa.field("embedding", vector, nullable=False),
        pa.field("variance", pa.binary()),  # of float32, or null; a list with nulls counts as a bad vector to the store
        pa.field("payload", pa.json_()),
    ]
    return pa.schema(fields, {_ABOUT: orjson.dumps(asdict(card))})


def card_of(schema: Any) -> Card | None:
    """What `schema_of` wrote; None for a table that is no collection of ours."""
    about = (schema.metadata or {}).get(_ABOUT)
    if about is None:
        return None
    fields = orjson.loads(about)
    return Card(fields["name"], Binding(**fields["binding"]), fields["created"])


def to_rows(items: Sequence[Item], card: Card) -> Any:
    """The rows of items.

    Raises:
        InvalidSearchError: A payload that is none.
    """
    means = np.concatenate([item.mean for item in items]).astype(np.float32, copy=False)
    variances = [None if item.variance is None else item.variance.astype("<f4").tobytes() for item in items]
    columns = [
        pa.array([item.id for item in items], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(means), card.binding.dim),
        pa.array(variances, pa.binary()),
        pa.array([encode_payload(item.payload) for item in items], pa.json_()),
    ]
    return pa.table(columns, schema=schema_of(card))


def from_rows(table: Any) -> list[Item]:
    """The items of rows."""
    means = np.array(table["embedding"].to_pylist(), np.float32)
    rows = zip(*(table[name].to_pylist() for name in ("id", "variance", "payload")), means, strict=True)
    return [
        Item(name, mean, None if variance is None else np.frombuffer(variance, "<f4"), orjson.loads(payload or "{}"))
        for name, variance, payload, mean in rows
    ]
