"""PostgreSQL with pgvector: images in a table beside everything else."""

import psycopg
from pgvector.psycopg import register_vector
from psycopg.sql import SQL, Identifier, Literal
from trial import run

from simvae_client import Embeddings


def search(known: Embeddings, asked: Embeddings, k: int, place: str) -> list[list[int]]:
    """The column `id` is the number of the row."""
    name = f"images-{known.model.fingerprint}"
    table, index = Identifier(name), Identifier(f"{name}-hnsw")
    dim = Literal(known.vectors.shape[1])
    with psycopg.connect(place) as database:  # "postgresql://user:password@localhost/name"
        database.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(database)
        create = "CREATE TABLE IF NOT EXISTS {} (id bigint PRIMARY KEY, embedding vector({}))"
        database.execute(SQL(create).format(table, dim))
        insert = "INSERT INTO {} VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET embedding = EXCLUDED.embedding"
        database.cursor().executemany(SQL(insert).format(table), list(enumerate(known.vectors)))
        create = "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (embedding vector_cosine_ops)"
        database.execute(SQL(create).format(index, table))
        query = SQL("SELECT id FROM {} ORDER BY embedding <=> %s LIMIT %s").format(table)
        return [[row for (row,) in database.execute(query, (vector, k))] for vector in asked.vectors]


if __name__ == "__main__":
    run(search, "postgresql://localhost/postgres")
