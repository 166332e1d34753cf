"""`simvae-serve`: starts the server, and ends it so that no accepted request is lost."""

import gc
import multiprocessing
import signal
import socket
import sys
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer
import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.logs import configure_logging
from service.api.repository import Repository
from service.api.settings import Settings, SettingsError, read_settings
from service.api.workers import Supervisor, metrics_folder

__all__ = ["handles", "main", "serve", "serve_as_worker"]

_BACKLOG = 2048
_HANDLES = 8
_log = structlog.stdlib.get_logger("service.api")
_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


class _Server(uvicorn.Server):
    """Stops when the models cannot be served any more, and tells readiness of a signal before it closes the socket."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nothing here asks who the client is
            ws="none",
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        )
        super().__init__(config)
        self._repository: Repository = app.state.repository
        self._repository.on_failure = self.give_up
        self._repository.on_loaded = _settle_memory
        self.failed = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._repository.begin_drain()
        super().handle_exit(sig, frame)

    def give_up(self) -> None:
        """Ends it as a signal would, but not well."""
        self.failed = self.should_exit = True


def _settle_memory() -> None:
    """Takes what was loaded out of the reach of the garbage collector, whose every round would look at it again."""
    gc.collect()
    gc.freeze()


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers what was accepted.

    Returns:
        The exit code: 0, or 1 when the models could not be loaded or the port not be had.
    """
    configure_logging(settings)
    try:
        listener = _listen(settings)
    except OSError as error:
        return _fail_to_listen(settings, error)
    _log.info("listening", url=_url(listener), docs=f"{_url(listener)}/docs", workers=settings.workers)
    if settings.workers == 1:
        return _serve_here(settings, listener)
    port = listener.getsockname()[1]
    listener.close()  # it has shown that the port is free; each worker listens for itself
    with metrics_folder():
        return Supervisor(serve_as_worker, (settings.model_copy(update={"port": port}),), settings.workers).run()


def _serve_here(settings: Settings, listener: socket.socket) -> int:
    app = create_app(settings)
    repository: Repository = app.state.repository
    _ignore_repeated_signals()
    _Server(app, settings).run(sockets=handles(listener))
    return 0 if repository.failure is None else _fail(str(repository.failure))


def serve_as_worker(serving: Event, settings: Settings) -> None:
    """One process of several; loads its models, then listens on the port that they share.

    Args:
        serving: Set once it does.
        settings: Of the server, with the port to listen on.
    """
    configure_logging(settings)
    app = create_app(settings)
    repository: Repository = app.state.repository
    server = _Server(app, settings)
    for number in (signal.SIGTERM, signal.SIGINT):  # until uvicorn takes them
        signal.signal(number, server.handle_exit)
    repository.start()
    repository.wait()
    if repository.failure is not None:
        sys.exit(_fail(str(repository.failure)))
    try:
        listener = _listen(settings, beside_others=True)
    except OSError as error:
        sys.exit(_fail_to_listen(settings, error))
    if not server.should_exit:
        _ignore_repeated_signals()
        threading.Thread(target=_watch, args=(repository, server), daemon=True).start()
        serving.set()
        server.run(sockets=handles(listener))
    sys.exit(int(server.failed))


def _watch(repository: Repository, server: _Server) -> None:
    """Ends a worker whose inference died, so that it is replaced, or whose supervisor did."""
    supervisor = multiprocessing.parent_process()
    while not server.should_exit:
        time.sleep(1)
        died = repository.state == "failed" or (supervisor is not None and not supervisor.is_alive())
        if died and not server.should_exit:
            server.give_up()


def _ignore_repeated_signals() -> None:
    """For uvicorn raises the signal again once it has drained; by then it was obeyed, and the exit code must be 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


@_app.command(
    epilog="""
[bold]Examples[/bold]

  simvae-serve

  simvae-serve --models models --host 0.0.0.0 --port 8000 --device cuda

  SIMVAE_API_KEY=secret SIMVAE_LOG_FORMAT=json simvae-serve
"""
)
def _command(
    models: Annotated[Path | None, typer.Option(help="Directory of <name>/<version>/ bundles, or one bundle.")] = None,
    default_model: Annotated[str | None, typer.Option(help="Answers requests that name no model.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, cuda:N,M, or tensorrt likewise.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, float16 or int8, if the bundle has it.")] = None,
    collections: Annotated[str | None, typer.Option(help="Folder or s3://, gs://, az:// URL of collections.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes; for a CPU, as many as it has cores.")] = None,
    max_batch: Annotated[int | None, typer.Option(help="The most images of one run of the model.")] = None,
    inference_threads: Annotated[int | None, typer.Option(help="CPU threads of one run of the model.")] = None,
    decode_threads: Annotated[int | None, typer.Option(help="Threads that decode images.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
) -> None:
    """Serve SimVAE models over HTTP.

    Every setting is also an environment variable, SIMVAE_ and its name in capitals, which a flag overrides.

    Limits, timeouts, the API key and CORS are environment variables only. docs/operations.md lists them all.
    """
    try:
        settings = read_settings(**locals())
    except SettingsError as error:
        raise typer.Exit(_fail(str(error))) from error
    raise typer.Exit(serve(settings))


def main() -> None:
    """The console script."""
    _app()


def _listen(settings: Settings, *, beside_others: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    return socket.create_server(address, family=family, backlog=_BACKLOG, reuse_port=beside_others)


def handles(listener: socket.socket) -> list[socket.socket]:
    """A listener several times over, for an event loop to watch.

    libuv takes one connection per handle and turn of the loop (libuv pull request 3696). Turns are long under load, and
    of many clients that come at once the last would wait for seconds.
    """
    return [listener, *(listener.dup() for _ in range(_HANDLES - 1))]


def _fail_to_listen(settings: Settings, error: OSError) -> int:
    return _fail(
        f"Expected to listen on {settings.host} port {settings.port}; {error.strerror or error}. "
        "Choose another with --host and --port."
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fail(sentence: str) -> int:
    sys.stderr.write(f"simvae-serve: {sentence}\n")
    return 1
