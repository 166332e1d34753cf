"""LangChain: images in any of its vector stores, by path or data URI."""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings as LangChainEmbeddings
from langchain_core.vectorstores import InMemoryVectorStore
from PIL import Image
from trial import NEIGHBOURS, arguments, read_images, report

from simvae_client import Client


class ImageEmbeddings(LangChainEmbeddings):
    """Embeds what LangChain holds as text, or as `uris`: paths, `file://` or `data:` of images.

    Args:
        client: Of the service; pin its `fingerprint`, so that a store never holds vectors of two models.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Of many images."""
        return self.client.embed([_image(text) for text in texts], normalize=True).vectors.tolist()

    def embed_image(self, uris: Sequence[str]) -> list[list[float]]:
        """The same, under the name by which stores ask for images."""
        return self.embed_documents(uris)

    def embed_query(self, text: str) -> list[float]:
        """Of one image."""
        return self.embed_documents([text])[0]


def _image(uri: str) -> str | bytes:
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    return uri.removeprefix("file://")


def main() -> None:
    """Stores and asks with files, as apps have them."""
    options = arguments("unused: everything stays in memory")
    images, queries = read_images(options.data, options.images)
    with Client(options.url) as client, tempfile.TemporaryDirectory() as folder:
        files = {name: write(some, Path(folder) / name) for name, some in (("known", images), ("asked", queries))}
        store = InMemoryVectorStore(ImageEmbeddings(client))
        store.add_documents([Document(file, metadata={"row": row}) for row, file in enumerate(files["known"])])
        answers = [store.similarity_search(file, k=NEIGHBOURS) for file in files["asked"]]
        known, asked = (client.embed(files[name], normalize=True) for name in ("known", "asked"))
    report([[document.metadata["row"] for document in answer] for answer in answers], known, asked)


def write(images: Sequence[object], folder: Path) -> list[str]:
    """One PNG for each image."""
    folder.mkdir()
    for row, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{row:05}.png")
    return [str(file) for file in sorted(folder.iterdir())]


if __name__ == "__main__":
    main()
