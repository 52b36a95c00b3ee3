"""API keys and rate limits."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError, NotFound, RateLimited, Unauthorized
from gateway.http.dialects import error_response
from gateway.http.problems import responses
from gateway.security.access_control import AccessControl

OPEN_PATHS = frozenset(
    {"/", "/favicon.ico", "/share-worker.js", "/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}
)
"""Paths without access control: probes have no keys, and the page contains no data."""
OPEN_FOLDERS = ("/web/",)

REVIEW_PATH = "/review"
"""The page for reviews, which contains no data."""
REVIEW_API = "/api/v1/review/"
"""Paths that need a review key, if there is a review."""

DOCS_PATHS = frozenset({"/docs", "/openapi.json"})
DOCS_FOLDERS = ("/docs/",)

METRICS_PATH = "/metrics"


_HAS_ACCESS = "gateway.has_access"
_COUNT_IMAGES = "gateway.count_images"


def has_access(scope: Scope) -> bool:
    """Whether the caller of an open path could also use the others: it sent a valid key, or none is required."""
    access: bool = scope.get(_HAS_ACCESS, True)
    return access


async def count_images(scope: Scope, images: int) -> None:
    """Count the images of a request against the limit of its caller. Routes call it once they know the number.

    Every limit allows at least `Settings.max_batch_images`.

    Raises:
        RateLimited: The limit does not allow so many now.
    """
    count = scope.get(_COUNT_IMAGES)
    if count is not None:
        await count(images)


class Access:
    """Checks API keys and rate limits on all paths that are not explicitly open.

    Args:
        app: The wrapped app.
        control: Keys and limits; for images, see `count_images`.
        review: Keys and limits of reviewers, who may call nothing else. Without keys, there is no review.
        docs: Serve the API documentation, to everyone.
        metrics: Access to the metrics: ``open``, ``key`` or ``off``.
    """

    def __init__(
        self, app: ASGIApp, control: AccessControl, review: AccessControl, *, docs: bool, metrics: str
    ) -> None:
        self.app = app
        self._control = control
        self._review = review
        self._docs = docs
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._is_open(scope["path"]):
            scope[_HAS_ACCESS] = not self._control.keys or self._control.owner(Headers(scope=scope)) is not None
            await self.app(scope, receive, send)
            return
        try:
            headers = await self._admitted(scope)
        except GatewayError as error:
            await error_response(scope["path"], error)(scope, receive, send)
            return
        if self._control.image_limits:

            async def count(images: int) -> None:
                headers.extend(await self._control.image_limits.count(scope["gateway.request_record"].caller, images))

            scope[_COUNT_IMAGES] = count

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and headers:
                raw = [(name.lower().encode(), value.encode()) for name, value in headers]
                message["headers"] = [*message["headers"], *raw]
            await send(message)

        await self.app(scope, receive, send_counted)

    def _is_open(self, path: str) -> bool:
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) or path == REVIEW_PATH:
            return True
        if path in DOCS_PATHS or path.startswith(DOCS_FOLDERS):
            return self._docs
        return path == METRICS_PATH and self._metrics == "open"

    async def _admitted(self, scope: Scope) -> list[tuple[str, str]]:
        """Identify the caller, count the request and return the rate limit headers.

        Raises:
            NotFound: The path is turned off.
            GatewayError: As `AccessControl.admit` raises it.
        """
        path = scope["path"]
        if path in DOCS_PATHS or path.startswith(DOCS_FOLDERS) or (path == METRICS_PATH and self._metrics == "off"):
            raise NotFound("This path does not exist.")
        headers, record = Headers(scope=scope), scope["gateway.request_record"]
        control = self._review if self._review.keys and path.startswith(REVIEW_API) else self._control
        owner = control.owner(headers)
        if owner is not None:
            record.caller = f"key {owner}"
        return await control.admit(headers, owner, record.caller)


def describe(schema: dict[str, Any], *, keys: bool, limits: bool) -> None:
    """Describe API keys and rate limits in an OpenAPI description.

    The scheme is described even if no keys are required, so that a generated client can send one.
    """
    schema["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same API key."},
    }
    security: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
    if not keys:
        security.append({})  # or none of them
    kinds = [*([Unauthorized] if keys else []), *([RateLimited] if limits else [])]
    for path, operations in schema["paths"].items():
        if path in OPEN_PATHS:
            continue
        for operation in operations.values():
            operation["security"] = security
            for status, described in responses(*kinds).items():
                response = operation["responses"].setdefault(str(status), described)
                if response is not described:
                    response["description"] += f" {described['description']}"
