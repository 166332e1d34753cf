"""The client for code that waits."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from simvae_client.base import ClientBase
from simvae_client.flows import Flow, Send, Step, Wait, Work
from simvae_client.images import Images
from simvae_client.jobs import Job, Priority
from simvae_client.progress import Progress, told
from simvae_client.results import Dtype, Embeddings, FolderEmbeddings, Metric, Models, Reconstructions, Similarity

__all__ = ["Client"]

P = TypeVar("P")
T = TypeVar("T")


class Client(ClientBase[httpx.Client]):
    """Asks a SimVAE service; a context manager, and safe to use from several threads.

    `ClientBase` describes its arguments, `simvae_client.errors` what every method may raise.
    """

    def embed(
        self,
        images: Images,
        *,
        normalize: bool = False,
        variance: bool = False,
        dtype: Dtype = "float32",
        model: str | None = None,
        priority: Priority = "interactive",
    ) -> Embeddings:
        """A vector for each image, whichever way it is given; the first bad image is an error.

        Args:
            images: Any number.
            normalize: Scale every vector to length 1.
            variance: Give the posterior variances too.
            dtype: Of the vectors; int8 comes with a scale, ubinary is a bit for each dimension.
            model: `name` or `name@version`.
            priority: bulk lets others go first.

        Raises:
            BadImageError: An image cannot be decoded; `index` and `path` say which.
            OSError: A file cannot be read.
            ClientError: Anything else that the service, or the way to it, did.
        """
        job = self._jobs.embed(
            images, normalize=normalize, variance=variance, dtype=dtype, model=model, priority=priority
        )
        return self._run(job)

    def embed_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        normalize: bool = False,
        variance: bool = False,
        dtype: Dtype = "float32",
        model: str | None = None,
        priority: Priority = "bulk",
        progress: Progress = False,
    ) -> FolderEmbeddings:
        """Vectors of all images of a folder and its subfolders; bad ones are listed with their paths.

        Either all of them were tried, or this raises: nothing is left over from one call for the next.

        Args:
            folder: Searched for images by their suffixes.
            normalize: As for `embed`, and so are `variance`, `dtype`, `model` and `priority`.
            variance: See there.
            dtype: See there.
            model: See there.
            priority: See there.
            progress: True for a bar on standard error, or a function of how many are done and of how many.

        Raises:
            OSError: The folder cannot be listed.
            ModuleNotFoundError: A bar needs rich.
            ClientError: What went wrong was not one image.
        """
        job = self._jobs.embed_folder(
            folder, normalize=normalize, variance=variance, dtype=dtype, model=model, priority=priority
        )
        with told(progress, sum(job.counts)) as tell:
            return self._run(job, tell)

    def reconstruct(
        self, images: Images, *, model: str | None = None, priority: Priority = "interactive"
    ) -> Reconstructions:
        """What the model thinks it saw: a PNG for each image, how far it is from it, and how typical that is."""
        return self._run(self._jobs.reconstruct(images, model=model, priority=priority))

    def similarity(
        self,
        left: Images | Embeddings,
        right: Images | Embeddings | None = None,
        *,
        pairs: bool = False,
        metrics: Sequence[Metric] | None = None,
        prior: float = 0.5,
        model: str | None = None,
    ) -> Similarity:
        """How alike images are, in one request.

        Args:
            left: Images, or embeddings with the variances that likelihood ratios need.
            right: Compared with each of the left ones; when absent, those among themselves.
            pairs: Compare the first with the first, and so on, instead of each with each.
            metrics: All that the model defines, when absent.
            prior: How probable it is, before looking, that two images show the same.
            model: `name` or `name@version`.

        Raises:
            FingerprintError: The embeddings are not of the model that answers.
        """
        job = self._jobs.similarity(left, right, pairs=pairs, metrics=metrics, prior=prior, model=model)
        return self._run(job)

    def models(self) -> Models:
        """What is loaded, and which model is the default."""
        return self._run(self._jobs.models())

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)

    def _run(self, job: Job[P, T], tell: Callable[[int], None] = lambda _count: None) -> T:
        """All conversations of a job, several at a time; the first that fails ends it."""
        stop = threading.Event()
        if len(job.flows) == 1:
            found = self._drive(job.flows[0], stop)
            tell(job.counts[0])
            return job.finish([found])
        parts: list[P] = []
        pool = ThreadPoolExecutor(self._in_flight)
        try:
            futures = [pool.submit(self._drive, flow, stop) for flow in job.flows]
            for future, count in zip(futures, job.counts, strict=True):
                parts.append(future.result())
                tell(count)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        return job.finish(parts)

    def _drive(self, flow: Flow[P], stop: threading.Event) -> P:
        outcome: Any = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                found: P = end.value
                return found
            outcome = self._done(step, stop)

    def _done(self, step: Step, stop: threading.Event) -> Any:
        match step:
            case Send():
                try:
                    return self._http.send(self._request(step))
                except httpx.RequestError as error:
                    return error
            case Wait(seconds):
                if stop.wait(seconds):
                    raise CancelledError
            case Work(call):
                return call()
        return None
