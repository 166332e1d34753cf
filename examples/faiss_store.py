"""FAISS: images in an index in memory, kept as one file."""

from pathlib import Path

import faiss
from trial import run

from simvae_client import Embeddings


def search(known: Embeddings, asked: Embeddings, k: int, place: str) -> list[list[int]]:
    """Of vectors of length 1 (`normalize=True`), the inner product is the cosine."""
    file = Path(place) / f"images-{known.model.fingerprint}.faiss"
    index = faiss.IndexHNSWFlat(known.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(known.vectors)
    file.parent.mkdir(parents=True, exist_ok=True)
    faiss.write_index(index, str(file))
    _, rows = faiss.read_index(str(file)).search(asked.vectors, k)
    return rows.tolist()


if __name__ == "__main__":
    run(search, "runs/faiss")
