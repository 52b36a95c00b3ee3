"""Every error that a caller can see: its status, its stable code, and whether trying again makes sense.

    GatewayError
    ├── BadRequest             400  the form or the parameters cannot be read
    │   └── InvalidTensor           tensors that the signature does not take
    ├── Unauthorized           401  no API key, or a wrong one
    ├── NotFound               404
    │   ├── UnknownModel
    │   ├── UnknownVersion
    │   └── SignatureMissing        the model lacks what was asked of it
    ├── MethodNotAllowed       405
    ├── UploadTimeout          408  the upload came too slowly
    ├── UploadTooLarge         413
    ├── AddressTooLong         414
    ├── UnsupportedMedia       415
    │   ├── UnsupportedRequest      the body is neither a form nor an image
    │   └── UnsupportedImage        not an image, or a format that is not accepted
    ├── Unprocessable          422
    │   ├── InvalidParameter
    │   ├── InvalidImage            an accepted format, but broken
    │   └── ImageTooLarge           too many pixels
    ├── Overloaded             429  the gateway has all the work it takes
    ├── RateLimited            429  this caller has asked too often
    ├── HeadersTooLarge        431
    ├── InternalError          500
    ├── CodingNotSupported     501  a transfer coding other than chunked
    ├── BadUpstream            502
    │   ├── UnsupportedModel        the served model is no image classifier that can be spoken to
    │   └── ModelServerFailed       the model server refused the request or answered nonsense
    ├── Unavailable            503
    │   ├── ModelServerUnavailable
    │   └── NotReady
    ├── DeadlineExceeded       504
    └── VersionNotSupported    505  neither HTTP/1.0 nor HTTP/1.1

Every one of them leaves as the same JSON body (problem details, RFC 9457): see `gateway.http.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class GatewayError(Exception):
    """Base of all errors that reach a caller.

    Args:
        detail: What was wrong and what is accepted, for people; never text of the model server or of a library.
        extra: Further members of the problem body.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retry_after_seconds: ClassVar[int | None] = None
    """Seconds for the Retry-After header; None where the same request will fail again."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Further headers of the answer."""

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class BadRequest(GatewayError):
    """The form cannot be read, or holds no image or too many."""

    status, code, title = 400, "bad_request", "Bad request"


class InvalidTensor(BadRequest):
    """Tensors that cannot be read, or that the model's signature does not take."""

    code, title = "invalid_tensor", "Invalid tensor"


class Unauthorized(GatewayError):
    """The API key is missing or not known."""

    status, code, title = 401, "unauthorized", "API key needed"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class NotFound(GatewayError):
    """Nothing is served at this address."""

    status, code, title = 404, "not_found", "Not found"


class UnknownModel(NotFound):
    """The model server does not serve a model of this name."""

    code, title = "unknown_model", "Unknown model"


class UnknownVersion(NotFound):
    """The model is served, but not this version or version label of it."""

    code, title = "unknown_version", "Unknown version"


class SignatureMissing(NotFound):
    """The model is served, but offers no signature for what was asked."""

    code, title = "signature_missing", "Not offered by this model"


class MethodNotAllowed(GatewayError):
    """The address exists, the HTTP method does not."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class UploadTimeout(GatewayError):
    """The body did not arrive within the time given to uploads."""

    status, code, title = 408, "upload_timeout", "Upload too slow"
    retry_after_seconds = 1


class UploadTooLarge(GatewayError):
    """More bytes or more images than one request may carry."""

    status, code, title = 413, "upload_too_large", "Upload too large"


class UnsupportedMedia(GatewayError):
    """The body is of a kind that is not accepted."""

    status, code, title = 415, "unsupported_media", "Unsupported media type"


class UnsupportedRequest(UnsupportedMedia):
    """The body is neither a multipart form nor an image."""

    code = "unsupported_request"


class UnsupportedImage(UnsupportedMedia):
    """The upload is not an image, or one of a format that is not accepted."""

    code, title = "unsupported_image", "Unsupported image format"


class Unprocessable(GatewayError):
    """Understood, but it cannot be worked with."""

    status, code, title = 422, "unprocessable", "Unprocessable"


class InvalidParameter(Unprocessable):
    """A query, path or header parameter is out of its range."""

    code, title = "invalid_parameter", "Invalid parameter"


class InvalidImage(Unprocessable):
    """An image of an accepted format that is broken or cut off."""

    code, title = "invalid_image", "Invalid image"


class ImageTooLarge(Unprocessable):
    """An image with more pixels than are decoded here."""

    code, title = "image_too_large", "Image has too many pixels"


class Overloaded(GatewayError):
    """The gateway has as much work in flight as it takes; this request was not queued."""

    status, code, title = 429, "overloaded", "Too many requests"
    retry_after_seconds = 1


class RateLimited(GatewayError):
    """This caller has asked more often than it may.

    Args:
        detail: As in `GatewayError`.
        seconds: After which it may ask again.
        headers: Further headers of the answer.
    """

    status, code, title = 429, "rate_limited", "Too many requests"
    retry_after_seconds = 1

    def __init__(self, detail: str, seconds: int = 1, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(seconds), **(headers or {})}


class UriTooLong(GatewayError):
    """The address of the request is longer than is accepted."""

    status, code, title = 414, "address_too_long", "Address too long"


class HeadersTooLarge(GatewayError):
    """The headers of the request are larger than is accepted."""

    status, code, title = 431, "headers_too_large", "Headers too large"


class InternalError(GatewayError):
    """A fault of the gateway itself."""


class BadUpstream(GatewayError):
    """The model server answered, but not usefully."""

    status, code, title = 502, "bad_upstream", "Bad answer from the model server"


class UnsupportedModel(BadUpstream):
    """The served model is no image classifier that the gateway can speak to."""

    code, title = "unsupported_model", "Unsupported model"


class ModelServerFailed(BadUpstream):
    """The model server refused or failed the request, or its answer does not fit the model's contract.

    Args:
        detail: As in `GatewayError`.
        said: What the model server said is wrong with the request, in one line; for interfaces whose clients expect it.
    """

    code = "model_server_failed"

    def __init__(self, detail: str, said: str = "") -> None:
        super().__init__(detail)
        self.said = said


class Unavailable(GatewayError):
    """Not now; the same request may succeed in a moment."""

    status, code, title = 503, "unavailable", "Service unavailable"
    retry_after_seconds = 1


class ModelServerUnavailable(Unavailable):
    """The model server cannot be reached or takes no more work."""

    code, title = "model_server_unavailable", "Model server unavailable"


class NotReady(Unavailable):
    """A configured model has no available version."""

    code, title = "not_ready", "Not ready"


class DeadlineExceeded(GatewayError):
    """The answer did not come within the request's deadline."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
    retry_after_seconds = 1


class CodingNotSupported(GatewayError):
    """The body has a transfer coding other than chunked."""

    status, code, title = 501, "coding_not_supported", "Transfer coding not supported"


class VersionNotSupported(GatewayError):
    """The request is neither HTTP/1.0 nor HTTP/1.1."""

    status, code, title = 505, "version_not_supported", "HTTP version not supported"


def error_from_code(code: str, detail: str, extra: Mapping[str, object]) -> GatewayError:
    """The error of a code, as a worker process reports it; `InternalError` for a code that no request can cause."""
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
