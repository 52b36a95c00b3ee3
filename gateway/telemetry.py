"""What is observed of every request: metrics and its log line."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.calls import Call
from gateway.metrics import Metrics

access = logging.getLogger("gateway.access")

QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by machines; logged at debug level only, unless they fail."""


class Telemetry:
    """Gives every request a `Call` to be filled in, and reports it at its end.

    Args:
        app: What is observed.
        metrics: Where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = scope["gateway.call"] = Call()
        started = time.perf_counter()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.requests_in_flight.inc()
        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            status = status or 500
            raise
        finally:
            self._metrics.requests_in_flight.dec()
            call.route = getattr(scope.get("route"), "path", call.route)
            seconds = time.perf_counter() - started
            self._metrics.finished(scope["method"], status, seconds, call)
            _log(scope, status, seconds, call)


def _log(scope: Scope, status: int, seconds: float, call: Call) -> None:
    level = logging.DEBUG if call.route in QUIET_ROUTES and status == 200 else logging.INFO
    if not access.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status or "aborted",
        "duration_ms": round(seconds * 1000, 1),
    }
    if call.model:
        fields |= {"model": call.model, "version": call.version}
    answered = f" by {call.model}/{call.version}" if call.model else ""
    values = (scope["method"], scope["path"], status or "aborted", seconds * 1000, answered)
    access.log(level, "%s %s %s %.1f ms%s", *values, extra={"fields": fields})
