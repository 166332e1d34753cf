"""The application, put together: nothing here decides anything."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth import require_key
from service.api.contracts import cohere, openai, probes, roboflow, tei, voyage, weaviate
from service.api.contracts.v2 import health as v2_health
from service.api.contracts.v2 import infer as v2_infer
from service.api.contracts.v2 import metadata as v2_metadata
from service.api.contracts.v2 import statistics as v2_statistics
from service.api.direct import Direct
from service.api.documentation import DESCRIPTION, describe_problems
from service.api.errors import TABLE, ItemError
from service.api.express import Express
from service.api.limits import BodyBudget
from service.api.observe import Observe
from service.api.outputs import EXPOSED_HEADERS
from service.api.problems import problem_response
from service.api.repository import Repository
from service.api.routes import (
    collection_items,
    collection_search,
    collections,
    decode,
    docs,
    embed,
    health,
    models,
    page,
    reconstruct,
    similarity,
)
from service.api.settings import Settings
from service.api.store_calls import StoreCalls

__all__ = ["create_app"]

_IMAGES = (embed, reconstruct, similarity, decode)
_COLLECTIONS = (collections, collection_items, collection_search)
_CONTRACTS = (openai, cohere, voyage, tei, weaviate, roboflow, v2_infer, v2_statistics, v2_metadata)
"""A contract of another system is a module with a router, and its name here."""


class _Application(FastAPI):
    """FastAPI behind what surrounds every request, and behind the short way to the routes that carry the load."""

    def surround(self, repository: Repository, settings: Settings) -> None:
        """Puts it there; called once, before the first request."""
        routes = [route for module in (*_IMAGES, *_CONTRACTS) for route in module.router.routes]
        direct = Direct(super().__call__, routes)
        observe = Observe(direct, repository.metrics)
        self.state.express = Express(direct.route("/embed"), repository, settings, observe)
        self._outermost: ASGIApp = observe
        if settings.cors_origins:
            self._outermost = CORSMiddleware(
                self._outermost,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=EXPOSED_HEADERS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope["app"] = self
        await self._outermost(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Builds the server; models are loaded when it starts, in a thread, while it already answers `/health`."""
    repository = Repository(settings)
    store = StoreCalls(settings.collections, repository.metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        repository.start()
        store.start()
        counting = asyncio.create_task(repository.metrics.flush_regularly())
        yield
        counting.cancel()
        repository.metrics.flush()
        await asyncio.to_thread(store.close)
        await asyncio.to_thread(repository.close)

    app = _Application(
        title="SimVAE",
        version=version("simvae"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.repository = repository
    app.state.store = store
    app.state.budget = BodyBudget(settings.max_queue_bytes)
    app.surround(repository, settings)
    for error in (HTTPException, ItemError, *TABLE, Exception):
        app.add_exception_handler(error, problem_response)
    for module in (page, docs, health, probes, v2_health):
        app.include_router(module.router)
    for module in (*_IMAGES, models, *_COLLECTIONS, *_CONTRACTS):
        app.include_router(module.router, dependencies=[Depends(require_key)])
    app.mount("/docs", docs.assets())
    app.mount("/page", page.assets())
    describe_problems(app)
    return app
