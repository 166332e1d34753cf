"""`simvae-serve`: starts the server, and ends it so that no accepted request is lost."""

import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer
import uvicorn

from service.api.app import create_app
from service.api.logs import configure_logging
from service.api.repository import Repository
from service.api.settings import Settings, SettingsError, read_settings

__all__ = ["main", "serve"]

_BACKLOG = 2048
_log = structlog.stdlib.get_logger("service.api")
_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


class _Server(uvicorn.Server):
    """Stops when the models cannot be loaded, and tells readiness of a signal before it closes the socket."""

    def __init__(self, config: uvicorn.Config, repository: Repository) -> None:
        super().__init__(config)
        self._repository = repository
        repository.on_failure = self._stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._repository.begin_drain()
        super().handle_exit(sig, frame)

    def _stop(self) -> None:
        self.should_exit = True


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers what was accepted.

    Returns:
        The exit code: 0, or 1 when the models could not be loaded or the port not be had.
    """
    configure_logging(settings)
    app = create_app(settings)
    repository: Repository = app.state.repository
    try:
        listener = _listen(settings)
    except OSError as error:
        return _fail(
            f"Expected to listen on {settings.host} port {settings.port}; {error.strerror or error}. "
            "Choose another with --host and --port."
        )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
    )
    # uvicorn raises the signal again once it has drained; by then it has been obeyed, and the exit code must be 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _log.info("listening", url=_url(listener), docs=f"{_url(listener)}/docs")
    _Server(config, repository).run(sockets=[listener])
    return 0 if repository.failure is None else _fail(str(repository.failure))


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
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, float16 or int8, if the bundle has it.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for a free one.")] = None,
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


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fail(sentence: str) -> int:
    sys.stderr.write(f"simvae-serve: {sentence}\n")
    return 1
