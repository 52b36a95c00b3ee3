"""Compress long JSON answers: the labels and the card of a model can be many times the rest of the page."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

LEAST_BYTES: Final = 1000
LEVEL: Final = 6
"""0.7 ms for the 17 KB about a model of 1,000 labels, which become 7 KB."""

REFUSED: Final = re.compile(r"q=0(\.0*)?")


def accepted_encodings(headers: Headers) -> set[str]:
    """The names in Accept-Encoding, without those that it refuses by ``q=0``."""
    entries = ([part.strip() for part in one.split(";")] for one in headers.get("accept-encoding", "").split(","))
    return {name for name, *parameters in entries if not any(map(REFUSED.fullmatch, parameters))}


class CompressedRoute(APIRoute):
    """A route whose long answers are sent in gzip to clients that accept it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, and the compression after it."""
        handle = super().get_route_handler()

        async def compressed(request: Request) -> Response:
            response = await handle(request)
            response.headers.add_vary_header("Accept-Encoding")
            body = bytes(response.body)
            if len(body) >= LEAST_BYTES and "gzip" in accepted_encodings(request.headers):
                # In a thread: a model card may have megabytes.
                response.body = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
                response.headers["Content-Encoding"] = "gzip"
                response.headers["Content-Length"] = str(len(response.body))
            return response

        return compressed
