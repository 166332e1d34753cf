"""Collections of embeddings: kept in a vector store, searched and re-ranked. A library; it knows no HTTP."""
