"""Cross-origin calls from browsers (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

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
    """Wrap the app so that it sends CORS headers; returns the app itself if no origin is allowed.

    A page may set any request header. Tracing libraries add headers of their own to every request, and no header has a
    meaning here that a page could misuse: browsers send no cookies.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )


def headers(
    origins: Sequence[str], request_headers: Iterable[tuple[bytes, bytes]], unparsed: bytes = b""
) -> dict[str, str]:
    """The CORS headers for a response that the server writes itself, without the app.

    Names of `request_headers` are in lower case. The Origin header may also be in `unparsed` bytes of the request.
    """
    if not origins:
        return {}
    match = ORIGIN_LINE.search(unparsed)
    origin = dict(request_headers).get(b"origin", match[1].strip() if match else b"").decode("latin-1")
    if not origin or not ("*" in origins or origin in origins):
        return {}
    exposed_headers = {"Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS)}
    if "*" in origins:
        return {"Access-Control-Allow-Origin": "*", **exposed_headers}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **exposed_headers}
