"""What both clients are told when they are made."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import httpx

from simvae_client.flows import Send
from simvae_client.jobs import Jobs
from simvae_client.retries import Retries

__all__ = ["ClientBase"]

_IDLE_S = 3.0
"""A connection idle for longer is not used again: servers close theirs after 5 s, which must not meet a new request."""

_GRACE_S = 1.0
"""Longer than the service is told: its own word that it is too late says more than silence."""

HttpT = TypeVar("HttpT", httpx.Client, httpx.AsyncClient)


class ClientBase(ABC, Generic[HttpT]):
    """A client's settings.

    Args:
        url: Of the service; a path in it, as behind a proxy, is kept.
        api_key: Where the service wants one.
        model: `name` or `name@version`, unless a call says otherwise; the service's default when absent.
        fingerprint: The model must have this one; any other is a `FingerprintError`. Give it wherever vectors meet
            those that are stored already.
        timeout_s: For an answer. The service is told and drops what is later.
        retries: How patient to be with a service that is busy or starting.
        in_flight: Requests at the same time, when there are more images than one takes.
        batch_images: In one request, at most. A service that takes fewer at once gets fewer.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        fingerprint: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008 - it is frozen
        in_flight: int = 4,
        batch_images: int = 64,
    ) -> None:
        for name, value in (("timeout_s", timeout_s), ("in_flight", in_flight), ("batch_images", batch_images)):
            if not value > 0:
                raise ValueError(f"{name}: expected more than 0, found {value}.")
        self._in_flight = in_flight
        self._jobs = Jobs(model, fingerprint, retries, batch_images)
        headers = {"X-Request-Timeout": f"{timeout_s:g}"} | ({} if api_key is None else {"X-API-Key": api_key})
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_S)
        self._http: HttpT = self._connected(base_url=url, headers=headers, timeout=timeout_s + _GRACE_S, limits=limits)

    @abstractmethod
    def _connected(self, **options: Any) -> HttpT:
        """The client of httpx, with options that both kinds of it take."""

    def _request(self, step: Send) -> httpx.Request:
        return self._http.build_request(
            step.method, step.path, params=step.params, headers=step.headers, content=step.content or None
        )
