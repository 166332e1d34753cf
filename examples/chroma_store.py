"""Chroma: images in a collection of a server (`chroma run --port 8001`)."""

import chromadb
from trial import run

from simvae_client import Embeddings


def search(known: Embeddings, asked: Embeddings, k: int, place: str) -> list[list[int]]:
    """Identifiers are the numbers of the rows."""
    host, _, port = place.rpartition(":")
    store = chromadb.HttpClient(host=host, port=int(port))
    collection = store.get_or_create_collection(
        f"images-{known.model.fingerprint}", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    ids, most = [str(row) for row in range(len(known))], store.get_max_batch_size()
    for start in range(0, len(known), most):
        part = slice(start, start + most)
        collection.upsert(ids=ids[part], embeddings=known.vectors[part])
    answer = collection.query(query_embeddings=asked.vectors, n_results=k)
    return [[int(name) for name in names] for names in answer["ids"]]


if __name__ == "__main__":
    run(search, "localhost:8001")
