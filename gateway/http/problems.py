"""Errors to their one JSON body, and that body to the API description."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gateway import errors
from gateway.http.schemas import Problem
from gateway.observability.request_id import request_id

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem(error: errors.GatewayError, *, with_request_id: bool = True) -> Problem:
    """The body of an error; inside the answer to a batch the id of the request is left to the headers."""
    return Problem.model_validate(
        {
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "code": error.code,
            "retryable": error.retry_after_seconds is not None,
            "request_id": (request_id.get() or None) if with_request_id else None,
            **error.extra,
        }
    )


def problem_response(error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer for an error."""
    sent = {**error.headers, **(headers or {})}
    if error.retry_after_seconds is not None:
        sent.setdefault("Retry-After", str(error.retry_after_seconds))
    body = problem(error).model_dump_json(exclude_none=True)
    return Response(body, error.status, sent, media_type=MEDIA_TYPE)


def error_response(path: str, error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error, as the clients of the interface at this path expect it."""
    dialect = _dialect(path)
    response = problem_response(error, headers)
    if dialect is None:
        return response
    sent = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    return JSONResponse({"error": error.detail}, dialect(error), sent)


def _dialect(path: str) -> Callable[[errors.GatewayError], int] | None:
    """How the interface at a path tells the status of an error; None where errors are problem details."""
    if path == "/v1" or path.startswith("/v1/"):
        return _tensorflow_serving_status
    if path == "/v2" or path.startswith("/v2/"):
        return _same_status
    return None


def _tensorflow_serving_status(error: errors.GatewayError) -> int:
    """404 for what is not served, 400 for whatever else is wrong with a request or refused by the model."""
    if isinstance(error, errors.NotFound):
        return 400 if isinstance(error, errors.SignatureMissing) else 404
    if isinstance(error, errors.Unprocessable | errors.UnsupportedMedia | errors.BadUpstream):
        return 400
    return error.status


def _same_status(error: errors.GatewayError) -> int:
    """The Open Inference Protocol leaves the status of an error open."""
    return error.status


def install(app: FastAPI) -> None:
    """Answer every error, the framework's own as well, with the same body."""
    app.add_exception_handler(errors.GatewayError, _gateway_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def responses(*kinds: type[errors.GatewayError]) -> dict[int | str, dict[str, object]]:
    """FastAPI's ``responses`` for the errors of a route, each with its code and a worked example."""
    by_status: dict[int, list[type[errors.GatewayError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _documented(of_status) for status, of_status in sorted(by_status.items())}


def _documented(kinds: Iterable[type[errors.GatewayError]]) -> dict[str, object]:
    listed = list(kinds)
    examples = {
        kind.code: {
            "summary": kind.title,
            "value": problem(kind((kind.__doc__ or "").strip().splitlines()[0]), with_request_id=False).model_dump(
                exclude_none=True
            ),
        }
        for kind in listed
    }
    return {
        "description": " ".join(f"`{kind.code}`: {(kind.__doc__ or '').strip().splitlines()[0]}" for kind in listed),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def error_objects(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, object]]:
    """The same for an interface whose errors are ``{"error": "..."}``, by what each status means there."""
    return {
        status: {
            "description": description,
            "content": {"application/json": {"schema": {"type": "object"}, "example": {"error": description}}},
        }
        for status, description in descriptions.items()
    }


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.GatewayError)
    return _answer(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [{"location": [str(part) for part in one["loc"]], "message": str(one["msg"])} for one in error.errors()]
    first = f"{'.'.join(wrong[0]['location'])}: {wrong[0]['message']}" if wrong else "unreadable"
    return _answer(request, errors.InvalidParameter(f"A parameter is not valid: {first}.", errors=wrong))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(request, errors.NotFound(f"There is nothing at {json.dumps(request.scope['path'][:200])}."))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method[:20]} is not offered here; {allowed or 'another method'} is."
        return _answer(request, errors.MethodNotAllowed(detail), error.headers)
    if error.status_code < 500:
        return _answer(request, errors.BadRequest("The request cannot be read."), error.headers)
    return _answer(request, errors.InternalError("The gateway failed; the log has the reason under this request id."))


async def _unexpected(request: Request, _: Exception) -> Response:
    return _answer(request, errors.InternalError("The gateway failed; the log has the reason under this request id."))


def _answer(request: Request, error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    # Not request.url, which is made of the Host header and may be no address at all.
    return error_response(request.scope["path"], error, headers)
