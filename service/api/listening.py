"""The port that a server listens on."""

import socket

from service.api.settings import Settings

__all__ = ["BACKLOG", "ListenError", "bind", "start", "url_of"]

BACKLOG = 2048
"""Connections that may wait to be taken."""


class ListenError(Exception):
    """The port cannot be had."""


def bind(settings: Settings) -> socket.socket:
    """A socket on the host and port of the settings, which does not listen yet: nobody is kept waiting by it.

    Raises:
        ListenError: Another process has the port, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of connections that end; not of other listeners
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise _refused(settings.host, settings.port, error) from error
    return bound


def start(bound: socket.socket) -> None:
    """Listens; where that is done already it changes nothing.

    Raises:
        ListenError: Another process that had bound the port, too, has come before.
    """
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _refused(host, port, error) from error


def url_of(bound: socket.socket) -> str:
    """Where clients find it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refused(host: str, port: int, error: OSError) -> ListenError:
    return ListenError(
        f"Expected to listen on {host} port {port}; {error.strerror or error}. Choose another with --host and --port."
    )
