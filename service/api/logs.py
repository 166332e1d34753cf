"""Structured logs: one line for each request, as JSON for machines or in colour for people."""

import logging
import sys
import warnings
from typing import Any

import orjson
import structlog
from structlog.types import Processor

from service.api.settings import Settings

__all__ = ["configure_logging"]

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(settings: Settings) -> None:
    """Sends every log line and warning of the process, uvicorn's too, to stderr in one format.

    Called once, by the command line; a program that embeds the app keeps its own logging.
    """
    # Plain tracebacks: the pretty ones print local variables, which hold bodies and keys.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    json_lines: tuple[Processor, ...] = (
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dumps),
    )
    renderers = json_lines if settings.log_format == "json" else (console,)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.captureWarnings(capture=True)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # one file of a client can make thousands
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """An answer that breaks off is told by the line of its request, or by the traceback of what failed."""
    return record.msg != "ASGI callable returned without completing response."


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
