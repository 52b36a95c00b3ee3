"""The request ID, and headers that every response has."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.observability.request_id import accepted_id, request_id

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
        current = accepted_id(sent)
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
