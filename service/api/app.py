"""The application, put together: nothing here decides anything."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth import require_key
from service.api.direct import Direct
from service.api.documentation import DESCRIPTION, describe_problems
from service.api.errors import TABLE, ItemError
from service.api.limits import BodyBudget
from service.api.observe import Observe
from service.api.outputs import EXPOSED_HEADERS
from service.api.problems import problem_response
from service.api.repository import Repository
from service.api.routes import (
    collection_items,
    collection_search,
    collections,
    docs,
    embed,
    health,
    models,
    reconstruct,
    similarity,
)
from service.api.settings import Settings
from service.api.store_calls import StoreCalls

__all__ = ["create_app"]


class _Application(FastAPI):
    """FastAPI behind what surrounds every request, and behind the short way to the routes that carry the load."""

    def surround(self, repository: Repository, cors_origins: Sequence[str]) -> None:
        """Puts it there; called once, before the first request."""
        routes = [route for module in (embed, reconstruct, similarity) for route in module.router.routes]
        self._outermost: ASGIApp = Observe(Direct(super().__call__, routes), repository.metrics)
        if cors_origins:
            self._outermost = CORSMiddleware(
                self._outermost,
                allow_origins=cors_origins,
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
        yield
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
    app.surround(repository, settings.cors_origins)
    for error in (HTTPException, ItemError, *TABLE, Exception):
        app.add_exception_handler(error, problem_response)
    for module in (docs, health):
        app.include_router(module.router)
    for module in (embed, reconstruct, similarity, models, collections, collection_items, collection_search):
        app.include_router(module.router, dependencies=[Depends(require_key)])
    app.mount("/docs", docs.assets())
    describe_problems(app)
    return app
