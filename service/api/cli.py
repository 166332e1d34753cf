"""`simvae-serve`: starts the server, and ends it so that no accepted request is lost."""

import socket
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Annotated

import structlog
import typer

from service.api.connections import ABSENT
from service.api.ending import give_reason
from service.api.listening import ListenError, bind, url_of
from service.api.logs import configure_logging
from service.api.metrics_folder import metrics_folder
from service.api.settings import Settings, SettingsError, read_settings
from service.api.workers import Supervisor

__all__ = ["main", "serve"]

_log = structlog.stdlib.get_logger("service.api")
_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers what was accepted.

    Returns:
        The exit code: 0, or 1 when the models could not be loaded or the port not be had.
    """
    configure_logging(settings)
    try:
        return _serve_alone(settings) if settings.workers == 1 else _serve_with_workers(settings)
    except ListenError as error:
        return give_reason(str(error))


# `service.api.server` imports prometheus_client, which looks once, then, for the folder where processes count together.
def _serve_alone(settings: Settings) -> int:
    from service.api.server import serve_alone  # noqa: PLC0415

    return serve_alone(settings, _bind(settings))


def _serve_with_workers(settings: Settings) -> int:
    with metrics_folder():
        from service.api.server import serve_as_worker  # noqa: PLC0415

        with _bind(settings) as listener:
            counts = RawArray("l", [ABSENT] * settings.workers)

            def forget(index: int) -> None:
                counts[index] = ABSENT

            arguments = settings, listener, counts
            supervisor = Supervisor(serve_as_worker, arguments, settings.workers, listener.close, forget)
            return supervisor.run()


def _bind(settings: Settings) -> socket.socket:
    bound = bind(settings)
    _log.info("listening", url=url_of(bound), docs=f"{url_of(bound)}/docs", workers=settings.workers)
    return bound


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
        raise typer.Exit(give_reason(str(error))) from error
    raise typer.Exit(serve(settings))


def main() -> None:
    """The console script."""
    _app()
