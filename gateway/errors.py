"""Every error that a caller can see: its status, its stable code, and whether a retry can help.

The first line of each docstring is the text in docs/reference/errors.md, which lists them by status. All are sent as
the same JSON body (problem details, RFC 9457): see `gateway.http.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class GatewayError(Exception):
    """Base class of all errors that a caller can see.

    Args:
        detail: What was wrong and what is accepted, for people. No text of libraries. Of the model server, only the
            first line of why it refused a test image, in answers of `/readyz`.
        extra: Additional members of the problem body.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retry_after_seconds: ClassVar[int | None] = None
    """Seconds for the Retry-After header; None if the same request would fail again."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Additional response headers."""
    server_message: str = ""
    """What the model server says is wrong with the request, in one line, for interfaces whose clients expect it."""

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class BadRequest(GatewayError):
    """The form or the body cannot be parsed, or does not contain exactly one image."""

    status, code, title = 400, "bad_request", "Bad request"


class InvalidTensor(BadRequest):
    """The tensors cannot be parsed, or do not match the model's signature."""

    code, title = "invalid_tensor", "Invalid tensor"


class Unauthorized(GatewayError):
    """The API key is missing or wrong."""

    status, code, title = 401, "unauthorized", "API key needed"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class NotFound(GatewayError):
    """The path does not exist."""

    status, code, title = 404, "not_found", "Not found"


class UnknownModel(NotFound):
    """The model server has no model of this name."""

    code, title = "unknown_model", "Unknown model"


class UnknownVersion(NotFound):
    """The model has no such version or version label."""

    code, title = "unknown_version", "Unknown version"


class SignatureMissing(NotFound):
    """The model has no signature for this request, for example none for heat maps."""

    code, title = "signature_missing", "Not offered by this model"


class PhotoNotFound(NotFound):
    """The prediction log has no such photo."""

    code, title = "photo_not_found", "Photo not found"


class MethodNotAllowed(GatewayError):
    """The path does not accept this HTTP method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class UploadTimeout(GatewayError):
    """The body did not arrive in time, or arrived too slowly."""

    status, code, title = 408, "upload_timeout", "Upload too slow"
    retry_after_seconds = 1


class ReviewConflict(GatewayError):
    """Somebody else has reviewed the photo meanwhile."""

    status, code, title = 409, "review_conflict", "Reviewed meanwhile"


class UploadTooLarge(GatewayError):
    """The body has too many bytes or too many images."""

    status, code, title = 413, "upload_too_large", "Upload too large"


class UnsupportedMedia(GatewayError):
    """The media type of the body is not accepted."""

    status, code, title = 415, "unsupported_media", "Unsupported media type"


class UnsupportedRequest(UnsupportedMedia):
    """The body is neither a multipart form nor an image."""

    code = "unsupported_request"


class UnsupportedImage(UnsupportedMedia):
    """The upload is not an image, or its format is not accepted."""

    code, title = "unsupported_image", "Unsupported image format"


class Unprocessable(GatewayError):
    """The request is well-formed but cannot be processed."""

    status, code, title = 422, "unprocessable", "Unprocessable"


class InvalidParameter(Unprocessable):
    """A query, path or header parameter is not valid."""

    code, title = "invalid_parameter", "Invalid parameter"


class InvalidImage(Unprocessable):
    """The image is corrupt or truncated."""

    code, title = "invalid_image", "Invalid image"


class ImageNotFetched(Unprocessable):
    """The image cannot be fetched from its URL."""

    code, title = "image_not_fetched", "Image not fetched"


class ImageTooLarge(Unprocessable):
    """The image has too many pixels, or decoding it needs too much memory."""

    code, title = "image_too_large", "Image has too many pixels"


class Overloaded(GatewayError):
    """The gateway is at capacity, or the caller has used its share of the capacity."""

    status, code, title = 429, "overloaded", "Too many requests"
    retry_after_seconds = 1


class RateLimited(GatewayError):
    """The caller exceeded its rate limit.

    Args:
        detail: As in `GatewayError`.
        seconds: Seconds until the next request is accepted.
        headers: Additional response headers.
    """

    status, code, title = 429, "rate_limited", "Too many requests"
    retry_after_seconds = 1

    def __init__(self, detail: str, seconds: int = 1, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(seconds), **(headers or {})}


class UriTooLong(GatewayError):
    """The path and query of the request are too long."""

    status, code, title = 414, "address_too_long", "Address too long"


class HeadersTooLarge(GatewayError):
    """The request headers are too large."""

    status, code, title = 431, "headers_too_large", "Headers too large"


class InternalError(GatewayError):
    """The gateway failed. Its log contains the reason."""

    def __init__(self, detail: str = "Internal error. The gateway's log has the reason under this request ID.") -> None:
        super().__init__(detail)


class BadUpstream(GatewayError):
    """The model server returned an answer that the gateway cannot use."""

    status, code, title = 502, "bad_upstream", "Bad answer from the model server"


class UnsupportedModel(BadUpstream):
    """The model is not an image classifier that the gateway supports."""

    code, title = "unsupported_model", "Unsupported model"


class ModelServerFailed(BadUpstream):
    """The model server failed, or its answer does not match the model contract."""

    code = "model_server_failed"

    def __init__(self, detail: str, server_message: str = "") -> None:
        super().__init__(detail)
        self.server_message = server_message


class Unavailable(GatewayError):
    """The service is temporarily unavailable."""

    status, code, title = 503, "unavailable", "Service unavailable"
    retry_after_seconds = 1


class ModelServerUnavailable(Unavailable):
    """The model server cannot be reached or is overloaded."""

    code, title = "model_server_unavailable", "Model server unavailable"


class NotReady(Unavailable):
    """The model has no version that is ready."""

    code, title = "not_ready", "Not ready"


class DeadlineExceeded(GatewayError):
    """The answer was not ready before the deadline of the request."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
    retry_after_seconds = 1


class CodingNotSupported(GatewayError):
    """The request uses a transfer coding other than chunked."""

    status, code, title = 501, "coding_not_supported", "Transfer coding not supported"


class VersionNotSupported(GatewayError):
    """The request is neither HTTP/1.0 nor HTTP/1.1."""

    status, code, title = 505, "version_not_supported", "HTTP version not supported"


def error_from_code(code: str, detail: str, extra: Mapping[str, object]) -> GatewayError:
    """The error with a code that a worker process reported; `InternalError` for a code that no request can cause."""
    kind = _FROM_CODE.get(code, InternalError)
    return kind(detail, **extra) if kind is not InternalError else kind("The gateway failed.")


_FROM_CODE: Mapping[str, type[GatewayError]] = {
    kind.code: kind
    for kind in (
        BadRequest,
        InvalidTensor,
        SignatureMissing,
        UploadTooLarge,
        UnsupportedImage,
        InvalidImage,
        ImageTooLarge,
        ModelServerFailed,
    )
}
