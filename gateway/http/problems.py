"""The JSON body of errors, and its description in OpenAPI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.responses import Response

from gateway import errors
from gateway.http.schemas import Problem
from gateway.observability.request_id import request_id

MEDIA_TYPE = "application/problem+json"


def problem(error: errors.GatewayError, *, with_request_id: bool = True) -> Problem:
    """The body of an error. Errors inside the answer to a batch have no request ID."""
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
    """The HTTP response for an error."""
    sent = {**error.headers, **(headers or {})}
    if error.retry_after_seconds is not None:
        sent.setdefault("Retry-After", str(error.retry_after_seconds))
    body = problem(error).model_dump_json(exclude_none=True)
    return Response(body, error.status, sent, media_type=MEDIA_TYPE)


def responses(*kinds: type[errors.GatewayError]) -> dict[int | str, dict[str, object]]:
    """FastAPI's ``responses`` for the errors of a route, each with its code and an example."""
    by_status: dict[int, list[type[errors.GatewayError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _documented(of_status) for status, of_status in sorted(by_status.items())}


def _documented(kinds: Iterable[type[errors.GatewayError]]) -> dict[str, object]:
    meanings = {kind: (kind.__doc__ or "").splitlines()[0] for kind in kinds}
    examples = {
        kind.code: {
            "summary": kind.title,
            "value": problem(kind(meaning), with_request_id=False).model_dump(exclude_none=True),
        }
        for kind, meaning in meanings.items()
    }
    return {
        "description": " ".join(f"`{kind.code}`: {meaning}" for kind, meaning in meanings.items()),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
