"""Qdrant: images in a collection, in this process or on a server."""

from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams
from trial import run

from simvae_client import Embeddings


def search(known: Embeddings, asked: Embeddings, k: int, place: str) -> list[list[int]]:
    """Points are numbered like the rows."""
    store = QdrantClient(place)  # ":memory:", or the address of a server, "http://localhost:6333"
    collection = f"images-{known.model.fingerprint}"
    if not store.collection_exists(collection):
        shape = VectorParams(size=known.vectors.shape[1], distance=Distance.COSINE)
        store.create_collection(collection, vectors_config=shape)
    store.upload_collection(collection, vectors=known.vectors, ids=range(len(known)))
    answers = [store.query_points(collection, query=vector, limit=k) for vector in asked.vectors]
    return [[int(point.id) for point in answer.points] for answer in answers]


if __name__ == "__main__":
    run(search, ":memory:")
