"""The client for code that awaits."""

import asyncio
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from simvae_client.base import ClientBase
from simvae_client.flows import Flow, Send, Step, Wait, Work
from simvae_client.images import Images
from simvae_client.jobs import Job, Priority
from simvae_client.progress import Progress, told
from simvae_client.results import Dtype, Embeddings, FolderEmbeddings, Metric, Models, Reconstructions, Similarity

__all__ = ["AsyncClient"]

P = TypeVar("P")
T = TypeVar("T")


class AsyncClient(ClientBase[httpx.AsyncClient]):
    """`Client` for an event loop: the same methods with the same arguments, to be awaited."""

    async def embed(
        self,
        images: Images,
        *,
        normalize: bool = False,
        variance: bool = False,
        dtype: Dtype = "float32",
        model: str | None = None,
        priority: Priority = "interactive",
    ) -> Embeddings:
        """As `Client.embed`."""
        job = await asyncio.to_thread(
            self._jobs.embed,
            images,
            normalize=normalize,
            variance=variance,
            dtype=dtype,
            model=model,
            priority=priority,
        )
        return await self._run(job)

    async def embed_folder(
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
        """As `Client.embed_folder`."""
        job = await asyncio.to_thread(
            self._jobs.embed_folder,
            folder,
            normalize=normalize,
            variance=variance,
            dtype=dtype,
            model=model,
            priority=priority,
        )
        with told(progress, sum(job.counts)) as tell:
            return await self._run(job, tell)

    async def reconstruct(
        self, images: Images, *, model: str | None = None, priority: Priority = "interactive"
    ) -> Reconstructions:
        """As `Client.reconstruct`."""
        job = await asyncio.to_thread(self._jobs.reconstruct, images, model=model, priority=priority)
        return await self._run(job)

    async def similarity(
        self,
        left: Images | Embeddings,
        right: Images | Embeddings | None = None,
        *,
        pairs: bool = False,
        metrics: Sequence[Metric] | None = None,
        prior: float = 0.5,
        model: str | None = None,
    ) -> Similarity:
        """As `Client.similarity`."""
        job = self._jobs.similarity(left, right, pairs=pairs, metrics=metrics, prior=prior, model=model)
        return await self._run(job)

    async def models(self) -> Models:
        """As `Client.models`."""
        return await self._run(self._jobs.models())

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def _run(self, job: Job[P, T], tell: Callable[[int], None] = lambda _count: None) -> T:
        """All conversations of a job, several at a time; the first that fails ends it."""
        gate = asyncio.Semaphore(self._in_flight)

        async def drive(flow: Flow[P]) -> P:
            async with gate:
                return await self._drive(flow)

        parts: list[P] = []
        tasks = [asyncio.create_task(drive(flow)) for flow in job.flows]
        try:
            for task, count in zip(tasks, job.counts, strict=True):
                parts.append(await task)
                tell(count)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return job.finish(parts)

    async def _drive(self, flow: Flow[P]) -> P:
        outcome: Any = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                found: P = end.value
                return found
            outcome = await self._done(step)

    async def _done(self, step: Step) -> Any:
        match step:
            case Send():
                try:
                    return await self._http.send(self._request(step))
                except httpx.RequestError as error:
                    return error
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Work(call):
                return await asyncio.to_thread(call)
        return None
