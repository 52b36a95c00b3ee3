"""Metrics, span and log line of every request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.observability.logs import log_request
from gateway.observability.metrics import Metrics
from gateway.observability.request_record import RequestRecord
from gateway.security.rate_limits import caller_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from gateway.observability.tracing import Tracing

access = logging.getLogger("gateway.http.middleware.access")

QUIET_ROUTES = frozenset({"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Routes that machines poll. Successful requests are logged only at debug level."""


class Telemetry:
    """Gives every request a `RequestRecord`, and reports it in metrics, logs and traces when the request ends."""

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
            level = logging.DEBUG if record.route in QUIET_ROUTES and status == 200 else logging.INFO
            log_request(access, level, scope["method"], scope["path"], status or "aborted", seconds, record)
