"""Compress long JSON answers: the labels and the card of a model can be many times the rest of the page."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

LEAST_BYTES: Final = 1000
LEVEL: Final = 6
"""0.7 ms for the 17 KB about a model of 1,000 labels, which become 7 KB."""


class CompressedRoute(APIRoute):
    """A route whose long answers are sent in gzip to clients that accept it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, and the compression after it."""
        handle = super().get_route_handler()

        async def compressed(request: Request) -> Response:
            response = await handle(request)
            if len(response.body) < LEAST_BYTES:
                return response
            response.headers.add_vary_header("Accept-Encoding")
            accepted = {one.split(";")[0].strip() for one in request.headers.get("accept-encoding", "").split(",")}
            if "gzip" in accepted:
                response.body = gzip.compress(response.body, LEVEL, mtime=0)
                response.headers["Content-Encoding"] = "gzip"
                response.headers["Content-Length"] = str(len(response.body))
            return response

        return compressed
