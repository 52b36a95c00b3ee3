"""What a request may ask of its connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope

_KEY = "gateway.connection"


class Connection(Protocol):
    """The connection that a request came over; `gateway.protocol` is one."""

    def body_is_here(self) -> bool:
        """Whether the whole body of the request in work has arrived, so that to receive it takes no time."""
        ...

    def watch(self, lost: Callable[[], None] | None) -> None:
        """Call this when the caller closes the connection; None ends the watch."""
        ...


def put(scope: Scope, connection: Connection) -> None:
    """Note in the scope of a request what it came over."""
    scope[_KEY] = connection


def connection_of(scope: Scope) -> Connection | None:
    """What a request came over; None where another server than the gateway's own runs the app."""
    found: Connection | None = scope.get(_KEY)
    return found
