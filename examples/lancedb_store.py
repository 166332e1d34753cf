"""LanceDB: images in a table of files, in a folder or in object storage."""

import lancedb
import pyarrow as pa
from trial import run

from simvae_client import Embeddings


def search(known: Embeddings, asked: Embeddings, k: int, place: str) -> list[list[int]]:
    """The column `id` is the number of the row."""
    store = lancedb.connect(place)  # a folder, or "s3://bucket/path"
    rows = [{"id": row, "vector": vector} for row, vector in enumerate(known.vectors)]
    shape = pa.schema({"id": pa.int64(), "vector": pa.list_(pa.float32(), known.vectors.shape[1])})
    table = store.create_table(f"images-{known.model.fingerprint}", schema=shape, exist_ok=True)
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
    answers = [table.search(vector).distance_type("cosine").limit(k).to_list() for vector in asked.vectors]
    return [[row["id"] for row in answer] for answer in answers]


if __name__ == "__main__":
    run(search, "runs/lancedb")
