"""The connection of a request, and the options of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from gateway.services.shutdown import Shutdown

if TYPE_CHECKING:
    from gateway.http.server.protocol import HttpProtocol

_KEY = "gateway.http.server.connection"


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Options of connections. The lifespan puts them into the server's state as ``connections``."""

    header_timeout_seconds: float = 10.0
    cors_origins: tuple[str, ...] = ()
    shutdown: Shutdown | None = None


def put(scope: Scope, connection: HttpProtocol) -> None:
    """Store the connection in the scope of a request."""
    scope[_KEY] = connection


def connection_of(scope: Scope) -> HttpProtocol | None:
    """The connection of a request; None if another server than the gateway's own runs the app."""
    connection: HttpProtocol | None = scope.get(_KEY)
    return connection
