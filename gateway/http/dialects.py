"""Interfaces whose clients expect another form of errors than problem details.

An error can arise before a request has met its router, in a middleware or in the HTTP server itself, so each of these
interfaces owns a prefix of the path: its router takes the prefix from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from gateway import errors
from gateway.http.problems import problem_response


@dataclass(frozen=True, slots=True)
class Dialect:
    """An interface that reports errors as ``{"error": "..."}``, with a status and a message of its own."""

    prefix: str
    status: Callable[[errors.GatewayError], int]
    detail: Callable[[errors.GatewayError], str]

    def owns(self, path: str) -> bool:
        """Whether a path belongs to the interface."""
        return path == self.prefix or path.startswith(f"{self.prefix}/")


def _tensorflow_serving_status(error: errors.GatewayError) -> int:
    """404 if something does not exist, 400 for all other mistakes in a request and for what the model refuses."""
    if isinstance(error, errors.NotFound):
        return 400 if isinstance(error, errors.SignatureMissing) else 404
    if isinstance(error, errors.Unprocessable | errors.UnsupportedMedia | errors.BadUpstream):
        return 400
    return error.status


TENSORFLOW_SERVING = Dialect("/v1", _tensorflow_serving_status, lambda error: error.server_message or error.detail)
OPEN_INFERENCE = Dialect("/v2", lambda error: error.status, lambda error: error.detail)
HUGGING_FACE = Dialect("/hf", lambda error: error.status, lambda error: error.detail)
DIALECTS = (TENSORFLOW_SERVING, OPEN_INFERENCE, HUGGING_FACE)


def error_response(path: str, error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error, as the clients of the interface at this path expect it."""
    response = problem_response(error, headers)
    for dialect in DIALECTS:
        if dialect.owns(path):
            kept = {
                name: value
                for name, value in response.headers.items()
                if name not in ("content-length", "content-type")
            }
            return JSONResponse({"error": dialect.detail(error)}, dialect.status(error), kept)
    return response


def error_objects(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, object]]:
    """The answer in the form ``{"error": "..."}``, with the status that the interface uses."""
    return {
        status: {
            "description": description,
            "content": {"application/json": {"schema": {"type": "object"}, "example": {"error": description}}},
        }
        for status, description in descriptions.items()
    }
