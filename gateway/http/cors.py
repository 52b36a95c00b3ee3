"""Cross-origin calls from browsers (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "X-API-Key",
    "X-Request-ID",
    "X-Request-Timeout",
    "X-Requested-With",  # of axios and jQuery
    "X-Routing-Key",
    # Added to every request by tracing libraries: W3C Trace Context, W3C Baggage and Sentry.
    "baggage",
    "sentry-trace",
    "traceparent",
    "tracestate",
)
"""Request headers that a page may set."""

EXPOSED_HEADERS = (
    "X-Request-ID",
    "X-Model-Version",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Server-Timing",
)
"""Response headers that a page may read."""

ORIGIN_LINE = re.compile(rb"\r\norigin:([^\r\n]*)\r\n", re.IGNORECASE)


def middleware(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Wrap the app so that it sends CORS headers; returns the app itself if no origin is allowed."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )


def headers(
    origins: Sequence[str], request_headers: Iterable[tuple[bytes, bytes]], unparsed: bytes = b""
) -> dict[str, str]:
    """The CORS headers for a response that the server writes itself, without the app.

    Args:
        origins: Allowed origins.
        request_headers: Parsed headers of the request, with names in lower case.
        unparsed: Unparsed bytes of the request, which are searched for an Origin header.
    """
    if not origins:
        return {}
    match = ORIGIN_LINE.search(unparsed)
    origin = dict(request_headers).get(b"origin", match[1].strip() if match else b"").decode("latin-1")
    if not origin or not ("*" in origins or origin in origins):
        return {}
    shown = {"Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS)}
    if "*" in origins:
        return {"Access-Control-Allow-Origin": "*", **shown}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **shown}
