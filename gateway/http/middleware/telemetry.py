"""Metrics, span and log line of every request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.observability.metrics import Metrics
from gateway.observability.request_record import RequestRecord
from gateway.security.rate_limits import caller_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from gateway.observability.tracing import Tracing

access = logging.getLogger("gateway.http.middleware.access")

QUIET_ROUTES = frozenset({"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Routes that machines poll. Successful requests are logged only at debug level."""

MAX_LOGGED_PATH = 1000
"""Maximum length of a path in the log; callers may send 8 KiB."""


class Telemetry:
    """Gives every request a `RequestRecord`, and reports it in metrics, logs and traces when the request ends.

    Args:
        app: The wrapped app.
        metrics: Receives the metrics.
        tracing: Creates spans; None if tracing is off.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self.app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._tracing is None:
            await self._observed(scope, receive, send, None)
        else:
            with self._tracing.request(scope) as span:
                await self._observed(scope, receive, send, span)

    async def _observed(self, scope: Scope, receive: Receive, send: Send, span: Span | None) -> None:
        client = scope.get("client")
        record = scope["gateway.request_record"] = RequestRecord(caller=caller_of(client[0]) if client else "")
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
            record.route = getattr(scope.get("route"), "path", record.route)
            seconds = time.perf_counter() - started
            self._metrics.finished(scope["method"], status, seconds, record)
            if self._tracing is not None and span is not None:
                self._tracing.finish(span, scope["method"], status, record)
            _log(scope, status, seconds, record)


def _log(scope: Scope, status: int, seconds: float, record: RequestRecord) -> None:
    level = logging.DEBUG if record.route in QUIET_ROUTES and status == 200 else logging.INFO
    if not access.isEnabledFor(level):
        return
    # Encode it again, so that a line break in an address does not break a log line.
    path = quote(scope["path"][:MAX_LOGGED_PATH], safe="/:@")
    fields: dict[str, object] = {
        "method": scope["method"],
        "path": path,
        "status": status or "aborted",
        "duration_ms": round(seconds * 1000, 1),
    }
    if record.model:
        fields |= {"model": record.model, "version": record.version}
    answered = f" by {record.model}/{record.version}" if record.model else ""
    values = (scope["method"], path, status or "aborted", seconds * 1000, answered)
    access.log(level, "%s %s %s %.1f ms%s", *values, extra={"fields": fields})
