"""Convert every exception into an error response."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway import errors
from gateway.http.dialects import TENSORFLOW_SERVING, error_response


def install(app: FastAPI) -> None:
    """Install handlers that give every error, including the framework's own, the same body."""
    app.add_exception_handler(errors.GatewayError, _gateway_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.GatewayError)
    return _answer(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if all(one["loc"][0] == "path" for one in error.errors()) and TENSORFLOW_SERVING.owns(request.scope["path"]):
        return _answer(request, _malformed(request))
    details = [{"location": [str(part) for part in one["loc"]], "message": str(one["msg"])} for one in error.errors()]
    first = f"{'.'.join(details[0]['location'])}: {details[0]['message']}" if details else "unreadable"
    return _answer(request, errors.InvalidParameter(f"A parameter is not valid: {first}.", errors=details))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405) and TENSORFLOW_SERVING.owns(request.scope["path"]):
        return _answer(request, _malformed(request))
    if error.status_code == 404:
        return _answer(request, errors.NotFound(f"The path {json.dumps(request.scope['path'][:200])} does not exist."))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method[:20]} is not allowed here. Use {allowed or 'another method'}."
        return _answer(request, errors.MethodNotAllowed(detail), error.headers)
    if error.status_code < 500:
        return _answer(request, errors.BadRequest("The request cannot be parsed."), error.headers)
    return _answer(request, errors.InternalError())


async def _unexpected(request: Request, _: Exception) -> Response:
    return _answer(request, errors.InternalError())


def _malformed(request: Request) -> errors.BadRequest:
    """TensorFlow Serving's message for an unknown address or method."""
    path = request.scope["raw_path"].decode("ascii", "replace")
    return errors.BadRequest(f"Malformed request: {request.method[:20]} {path[:200]}")


def _answer(request: Request, error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    # Not request.url, which contains the Host header and may not be a valid address.
    return error_response(request.scope["path"], error, headers)
