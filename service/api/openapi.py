"""Prints the OpenAPI document: `python -m service.api.openapi > docs/openapi.json`."""

import sys

import orjson

from service.api.app import create_app
from service.api.settings import Settings

__all__ = ["document"]


def document() -> bytes:
    """The document as it is committed; the same on every machine, since no route depends on settings."""
    return orjson.dumps(create_app(Settings()).openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    sys.stdout.buffer.write(document())
