"""The interface between a connection and the requests on it, and the options of connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

from gateway.services.shutdown import Shutdown

_KEY = "gateway.http.server.connection"


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Options of connections. The lifespan puts them into the server's state as ``connections``.

    Attributes:
        header_timeout_seconds: Time for the headers of a request to arrive.
        cors_origins: See `Settings.cors_origins`.
        shutdown: Whether the process is about to stop.
    """

    header_timeout_seconds: float = 10.0
    cors_origins: tuple[str, ...] = ()
    shutdown: Shutdown | None = None


class ClientConnection(Protocol):
    """The connection of a request, implemented by `gateway.http.server.protocol.HttpProtocol`."""

    def body_is_here(self) -> bool:
        """Whether the whole body of the current request has arrived, so that receiving it takes no time."""
        ...

    def watch(self, lost: Callable[[], None] | None) -> None:
        """Call `lost` when the client closes the connection; None ends the watch."""
        ...


def put(scope: Scope, connection: ClientConnection) -> None:
    """Store the connection in the scope of a request."""
    scope[_KEY] = connection


def connection_of(scope: Scope) -> ClientConnection | None:
    """The connection of a request; None if another server than the gateway's own runs the app."""
    connection: ClientConnection | None = scope.get(_KEY)
    return connection
