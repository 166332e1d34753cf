"""The vector stores that `stores.py` measures, each opened on a folder and used as its own documentation says.

An item is an id, a vector and the payload `{"group": number}`.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["PACKAGES", "Store", "open_store"]

PACKAGES = {
    "lancedb": ["lancedb", "pyarrow"],
    "chromadb": ["chromadb"],
    "milvus-lite": ["pymilvus", "milvus-lite"],
    "qdrant-client": ["qdrant-client"],
}
"""What is installed for each."""


class Store(Protocol):
    """What is asked of each of them."""

    def add(self, ids: Sequence[str], vectors: np.ndarray, groups: Sequence[int]) -> None:
        """Adds items, or replaces those of the same ids; what it returned from must survive."""

    def settle(self) -> None:
        """What the documentation advises after much was added."""

    def search(self, vector: np.ndarray, k: int, group: int | None) -> list[str]:
        """The ids of the nearest items by Euclidean distance, perhaps of one group only."""

    def ids(self) -> set[str]:
        """All of them."""


def open_store(name: str, folder: Path, dim: int) -> Store:
    """Opens a store, making it where there is none."""
    return {"lancedb": Lance, "chromadb": Chroma, "milvus-lite": Milvus, "qdrant-client": Qdrant}[name](folder, dim)


class Lance:
    """LanceDB on a folder; the same calls take `s3://`, `gs://` and `az://`."""

    def __init__(self, folder: Path, dim: int) -> None:
        import lancedb  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        self._pa, self._dim = pa, dim
        vector, payload = pa.list_(pa.float32(), dim), pa.json_()
        self._schema = pa.schema([("id", pa.string()), ("vector", vector), ("payload", payload)])
        database = lancedb.connect(str(folder), read_consistency_interval=timedelta(0))
        there = "items" in database.list_tables().tables
        self._table = database.open_table("items") if there else database.create_table("items", schema=self._schema)

    def add(self, ids: Sequence[str], vectors: np.ndarray, groups: Sequence[int]) -> None:
        pa = self._pa
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self._dim)
        payloads = pa.array([json.dumps({"group": group}) for group in groups], pa.json_())
        batch = pa.table([pa.array(ids), rows, payloads], schema=self._schema)
        self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(batch)

    def settle(self) -> None:
        self._table.optimize(cleanup_older_than=timedelta(0))

    def search(self, vector: np.ndarray, k: int, group: int | None) -> list[str]:
        query = self._table.search(vector).distance_type("l2").select(["id"]).limit(k)
        if group is not None:
            query = query.where(f"json_get_int(payload, 'group') = {group}", prefilter=True)
        return query.to_arrow()["id"].to_pylist()

    def ids(self) -> set[str]:
        return set(self._table.search().select(["id"]).limit(None).to_arrow()["id"].to_pylist())


class Chroma:
    """Chroma's PersistentClient; the same calls go to a server by HttpClient."""

    def __init__(self, folder: Path, dim: int) -> None:  # noqa: ARG002  # it takes whatever comes first
        import chromadb  # noqa: PLC0415

        settings = chromadb.Settings(anonymized_telemetry=False)
        configuration: Any = {"hnsw": {"space": "l2"}}
        self._collection = chromadb.PersistentClient(str(folder), settings).get_or_create_collection(
            "items", configuration=configuration, embedding_function=None
        )

    def add(self, ids: Sequence[str], vectors: np.ndarray, groups: Sequence[int]) -> None:
        payloads: Any = [{"group": group} for group in groups]
        self._collection.upsert(list(ids), embeddings=vectors, metadatas=payloads)

    def settle(self) -> None:
        pass

    def search(self, vector: np.ndarray, k: int, group: int | None) -> list[str]:
        where: Any = None if group is None else {"group": group}
        return self._collection.query(query_embeddings=[vector], n_results=k, where=where, include=[])["ids"][0]

    def ids(self) -> set[str]:
        return set(self._collection.get(include=[])["ids"])


class Milvus:
    """Milvus Lite in a folder; the same calls go to a Milvus server."""

    def __init__(self, folder: Path, dim: int) -> None:
        import pymilvus  # noqa: PLC0415

        folder.mkdir(exist_ok=True)
        client = self._client = pymilvus.MilvusClient(str(folder / "milvus.db"))
        if client.has_collection("items"):
            client.load_collection("items")
            return
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", pymilvus.DataType.VARCHAR, is_primary=True, max_length=200)
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("payload", pymilvus.DataType.JSON)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 200})
        client.create_collection("items", schema=schema, index_params=index)

    def add(self, ids: Sequence[str], vectors: np.ndarray, groups: Sequence[int]) -> None:
        rows = zip(ids, vectors.tolist(), groups, strict=True)
        self._client.upsert(
            "items", [{"id": name, "vector": row, "payload": {"group": group}} for name, row, group in rows]
        )

    def settle(self) -> None:
        self._client.flush("items")

    def search(self, vector: np.ndarray, k: int, group: int | None) -> list[str]:
        condition = "" if group is None else f'payload["group"] == {group}'
        found = self._client.search("items", [vector.tolist()], limit=k, filter=condition)
        return [str(hit["id"]) for hit in found[0]]

    def ids(self) -> set[str]:
        found: set[str] = set()
        pages = self._client.query_iterator("items", batch_size=1000, output_fields=["id"])
        while page := pages.next():
            found |= {row["id"] for row in page}
        return found


class Qdrant:
    """qdrant-client's local mode; the same calls go to a Qdrant server. Ids are numbers or UUIDs."""

    def __init__(self, folder: Path, dim: int) -> None:
        from qdrant_client import QdrantClient, models  # noqa: PLC0415

        self._models, self._client = models, QdrantClient(path=str(folder))
        if not self._client.collection_exists("items"):
            config = models.VectorParams(size=dim, distance=models.Distance.EUCLID)
            self._client.create_collection("items", vectors_config=config)

    def add(self, ids: Sequence[str], vectors: np.ndarray, groups: Sequence[int]) -> None:
        rows = zip(ids, vectors.tolist(), groups, strict=True)
        self._client.upsert(
            "items",
            [
                self._models.PointStruct(id=_number(name), vector=row, payload={"group": group, "id": name})
                for name, row, group in rows
            ],
        )

    def settle(self) -> None:
        pass

    def search(self, vector: np.ndarray, k: int, group: int | None) -> list[str]:
        m, condition = self._models, None
        if group is not None:
            condition = m.Filter(must=[m.FieldCondition(key="group", match=m.MatchValue(value=group))])
        points = self._client.query_points("items", vector.tolist(), limit=k, query_filter=condition).points
        return [point.payload["id"] for point in points if point.payload]

    def ids(self) -> set[str]:
        points, _ = self._client.scroll("items", limit=1_000_000)
        return {point.payload["id"] for point in points if point.payload}


def _number(name: str) -> int:
    """Of `<prefix>-<number>`."""
    prefix, number = name.split("-")
    return 1_000_000 * int(prefix) + int(number)
