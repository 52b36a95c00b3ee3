"""Errors."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses of errors without a body from the gateway, such as those of a proxy, that may go away."""


class BreedError(Exception):
    """Base class of all errors of this package."""


class ConnectionFailed(BreedError):
    """No answer arrived: the gateway cannot be reached, or it took too long."""


class ApiError(BreedError):
    """The gateway answered with an error, or one photo of a batch failed.

    Attributes:
        status: HTTP status.
        code: Kind of error, for programs; stable. ``http_STATUS`` if the answer did not come from the gateway.
        detail: What was wrong, for people.
        retryable: Whether the same request may succeed later.
        request_id: ID of the request in the log of the gateway.
        retry_after: Seconds to wait before the next attempt, if the gateway said so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.request_id = request_id
        self.retry_after = retry_after


def error_of(response: httpx.Response) -> ApiError:
    """The error that an answer contains."""
    retry_after = response.headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.isdecimal() else None
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "code" in body and "detail" in body:
        return error_of_problem(body, seconds)
    return ApiError(
        response.status_code,
        f"http_{response.status_code}",
        f"The server answered with status {response.status_code}.",
        retryable=response.status_code in RETRYABLE_STATUSES,
        request_id=response.headers.get("x-request-id"),
        retry_after=seconds,
    )


def error_of_problem(problem: Mapping[str, object], retry_after: float | None = None) -> ApiError:
    """The error of a problem body (RFC 9457)."""
    request_id, status = problem.get("request_id"), problem.get("status")
    return ApiError(
        status if isinstance(status, int) else 0,
        str(problem["code"]),
        str(problem["detail"]),
        retryable=problem.get("retryable") is True,
        request_id=request_id if isinstance(request_id, str) else None,
        retry_after=retry_after,
    )
