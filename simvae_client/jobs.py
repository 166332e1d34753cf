"""What each method of the clients comes to: the conversations it takes, and one result made of all of them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from simvae_client.answers import (
    Rows,
    read_array,
    read_models,
    read_reconstructions,
    read_rows,
    read_similarity,
)
from simvae_client.batches import Batch, cut
from simvae_client.flows import Flow, Part, Question, ask, ask_about, ask_of_images
from simvae_client.folders import find_images, folder_result
from simvae_client.images import Images, as_sequence
from simvae_client.npy import NPY
from simvae_client.results import (
    Dtype,
    Embeddings,
    FolderEmbeddings,
    Metric,
    Models,
    Reconstructions,
    Similarity,
)
from simvae_client.retries import Retries
from simvae_client.sides import expected_of, sides_body

__all__ = ["Job", "Jobs", "Priority"]

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")
Priority = Literal["interactive", "bulk"]


@dataclass(frozen=True)
class Job(Generic[P, T]):
    """What is to be done.

    Attributes:
        flows: Conversations, which may go on at the same time.
        counts: How many images each is about.
        finish: Makes the result of what they returned, in order.
    """

    flows: Sequence[Flow[P]]
    counts: Sequence[int]
    finish: Callable[[list[P]], T]


@dataclass(frozen=True)
class Jobs:
    """Makes jobs.

    Attributes:
        model: That answers, unless a call names another; None is the service's default.
        fingerprint: That it must have, if it matters.
        retries: Of every request.
        batch_images: The most in one request.
    """

    model: str | None
    fingerprint: str | None
    retries: Retries
    batch_images: int

    def embed(
        self, images: Images, *, normalize: bool, variance: bool, dtype: Dtype, model: str | None, priority: Priority
    ) -> Job[list[Part[Rows]], Embeddings]:
        """An answer is `.npy`, but for variances, which have no place in it."""
        question = self._embedding(normalize, variance, dtype, model, priority, skip=False)
        batches = cut(as_sequence(images), self.batch_images)
        return self._of_images(
            question, batches, lambda parts: Embeddings.stack([part.value.embeddings for part in parts])
        )

    def embed_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        normalize: bool,
        variance: bool,
        dtype: Dtype,
        model: str | None,
        priority: Priority,
    ) -> Job[list[Part[Rows]], FolderEmbeddings]:
        """An answer is JSON, which has a place for what is wrong with an image."""
        question = self._embedding(normalize, variance, dtype, model, priority, skip=True)
        paths = find_images(folder)
        root = os.fspath(folder)
        batches = cut([f"{root}/{path}" for path in paths], self.batch_images)
        return self._of_images(question, batches, partial(folder_result, paths))

    def reconstruct(
        self, images: Images, *, model: str | None, priority: Priority
    ) -> Job[list[Part[Reconstructions]], Reconstructions]:
        """Batches of pictures."""
        params = self._params(model, priority=priority)
        question = Question("/reconstruct", read_reconstructions, params, fingerprint=self.fingerprint)
        batches = cut(as_sequence(images), self.batch_images)
        return self._of_images(question, batches, lambda parts: Reconstructions.stack([part.value for part in parts]))

    def similarity(
        self,
        left: Images | Embeddings,
        right: Images | Embeddings | None,
        *,
        pairs: bool,
        metrics: Sequence[Metric] | None,
        prior: float,
        model: str | None,
    ) -> Job[Similarity, Similarity]:
        """One request, since every image is compared with every other."""
        sides = {"left": left} | ({} if right is None else {"right": right})
        options: dict[str, Any] = {"pairs": pairs, "prior": prior}
        options |= {} if metrics is None else {"metrics": list(metrics)}
        expected = expected_of(self.fingerprint, list(sides.values()))
        question = Question("/similarity", read_similarity, self._params(model), fingerprint=expected)
        flow = ask_about(question, partial(sides_body, sides, options), self.retries)
        return Job([flow], [1], lambda found: found[0])

    def models(self) -> Job[Models, Models]:
        """What is loaded."""
        flow = ask(Question("/models", read_models, method="GET"), None, self.retries)
        return Job([flow], [1], lambda found: found[0])

    def _of_images(
        self, question: Question[R], batches: Sequence[Batch], finish: Callable[[list[Part[R]]], T]
    ) -> Job[list[Part[R]], T]:
        flows = [ask_of_images(question, batch, self.retries) for batch in batches]
        return Job(
            flows, [len(batch) for batch in batches], lambda lists: finish([part for one in lists for part in one])
        )

    def _embedding(
        self,
        normalize: bool,
        variance: bool,
        dtype: Dtype,
        model: str | None,
        priority: Priority,
        *,
        skip: bool,
    ) -> Question[Rows]:
        params = self._params(model, priority=priority, dtype=dtype, normalize=str(normalize).lower())
        if not variance and not skip:
            read = partial(read_array, normalized=normalize)
            return Question("/embed", read, params, NPY, fingerprint=self.fingerprint)
        params |= {"encoding": "base64", "variance": str(variance).lower(), "on_error": "skip" if skip else "fail"}
        read = partial(read_rows, dtype=dtype, normalized=normalize)
        return Question("/embed", read, params, skip=skip, fingerprint=self.fingerprint)

    def _params(self, model: str | None, **others: str) -> dict[str, str]:
        chosen = model or self.model
        return others if chosen is None else {"model": chosen, **others}
