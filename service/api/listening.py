"""The port that a server listens on."""

import socket

from service.api.settings import Settings

__all__ = ["BACKLOG", "ListenError", "handles", "listen", "url_of"]

BACKLOG = 2048
"""Connections that may wait to be taken."""

_HANDLES = 8


class ListenError(Exception):
    """The port cannot be had."""


def listen(settings: Settings, *, beside_others: bool = False) -> socket.socket:
    """A socket that listens on the host and port of the settings.

    Args:
        settings: Of the server.
        beside_others: Whether other processes listen on the same port, and the kernel divides connections between them.

    Raises:
        ListenError: Another process has the port, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=beside_others)
    except OSError as error:
        raise ListenError(
            f"Expected to listen on {settings.host} port {settings.port}; {error.strerror or error}. "
            "Choose another with --host and --port."
        ) from error


def handles(listener: socket.socket) -> list[socket.socket]:
    """A listener several times over, for an event loop to watch.

    libuv takes one connection per handle and turn of the loop (libuv pull request 3696). Turns are long under load, and
    of many clients that come at once the last would wait for seconds.
    """
    return [listener, *(listener.dup() for _ in range(_HANDLES - 1))]


def url_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
