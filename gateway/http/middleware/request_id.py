"""The request ID, and headers that every response has."""

from __future__ import annotations

import random
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.observability.request_id import request_id

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""IDs that are accepted from callers: they are safe in headers, log lines and gRPC metadata."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
]
"""Header of every response: only this server's scripts may run, and no page may frame it. Pages restrict it further."""


NO_STORE = [(b"cache-control", b"no-store")]
"""Header of every API response, so that no cache stores answers about photos."""

API_PATHS = ("/api/", "/v1/", "/v2/", "/hf/")


class RequestContext:
    """Sets the request ID, from X-Request-ID if the caller sent a valid one, and adds headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        current = sent if REQUEST_ID.fullmatch(sent) else _new_id()
        added = [(b"x-request-id", current.encode()), *SECURITY_HEADERS]
        if scope["path"].startswith(API_PATHS):
            added += NO_STORE
        token = request_id.set(current)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            request_id.reset(token)


def _new_id() -> str:
    """32 hexadecimal digits. They protect nothing, so a fast generator is enough."""
    return f"{random.getrandbits(128):032x}"
