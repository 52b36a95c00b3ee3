"""Errors as gRPC status codes and trailing metadata."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from gateway import errors

CODES: Mapping[type[errors.GatewayError], grpc.StatusCode] = {
    errors.GatewayError: grpc.StatusCode.INTERNAL,
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedMedia: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unprocessable: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.SignatureMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedModel: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UploadTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UploadTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
"""Code of each error, and of those below it that are not listed."""

MAX_DETAILS = 1024
"""Longest message; TensorFlow Serving cuts longer ones too. Clients refuse more than 8 KB of metadata."""


def code_of(error: errors.GatewayError) -> grpc.StatusCode:
    """The status code of an error. What the model refuses is an invalid argument."""
    if error.server_message:
        return grpc.StatusCode.INVALID_ARGUMENT
    return code_of_kind(type(error))


def code_of_kind(kind: type[errors.GatewayError]) -> grpc.StatusCode:
    """The status code of a class of errors."""
    return next(CODES[one] for one in kind.__mro__ if one in CODES)


def details_of(error: errors.GatewayError) -> str:
    """The message of an error: the model's own words if it refused the request."""
    text = error.server_message or error.detail
    return text if len(text) <= MAX_DETAILS else f"{text[:MAX_DETAILS]}...TRUNCATED"


def metadata_of(error: errors.GatewayError) -> list[tuple[str, str]]:
    """Trailing metadata: the code of the error, headers as over HTTP, and when gRPC's own retries may try again."""
    metadata = [("x-error-code", error.code), *((name.lower(), value) for name, value in error.headers.items())]
    if error.retry_after_seconds is None:
        return metadata
    seconds = error.headers.get("Retry-After", str(error.retry_after_seconds))
    if "Retry-After" not in error.headers:
        metadata.append(("retry-after", seconds))
    return [*metadata, ("grpc-retry-pushback-ms", str(int(seconds) * 1000))]
