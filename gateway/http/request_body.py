"""Read the body of a request: one image, a batch of images, tensors, or a little JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from gateway.errors import BadRequest, UnsupportedRequest, UploadTooLarge
from gateway.http.multipart import FORM_OVERHEAD_BYTES, SINGLE_FIELDS, MultipartForm, header_parameters, quoted
from gateway.http.upload import Upload

RAW_TYPES = ("application/octet-stream", "binary/octet-stream", "application/json")
"""Media types of a body that is one image, in addition to image/*."""

MAX_JSON_BYTES = 8192
"""Maximum size of a body that the event loop parses as JSON."""

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """Read the image of a request: a file in a form, or the whole body.

    Raises:
        BadRequest: The form is malformed, or does not hold exactly one image.
        UnsupportedRequest: The body is neither a form nor an image.
        UploadTooLarge: The image has more than `max_bytes`.
        UploadTimeout, Overloaded: As `gateway.http.middleware.body_limits` raises them.
    """
    media_type, boundary = _content_type(request)
    if media_type == "multipart/form-data":
        with closing(MultipartForm(boundary, max_files=1, max_file_bytes=max_bytes)) as form:
            await _receive(request, form.feed, max_bytes + FORM_OVERHEAD_BYTES, max_bytes)
            [upload] = form.finish()
        if upload.error is not None:
            raise upload.error
        return upload
    if media_type and not media_type.startswith("image/") and media_type not in RAW_TYPES:
        raise UnsupportedRequest(
            f"A body of type {media_type[:80]!r} is not accepted. Send a multipart form with one file named "
            f"{quoted(SINGLE_FIELDS)}, or the image itself as image/* or application/octet-stream, or JSON such as "
            '{"inputs": "<the image in base64>"}.'
        )
    upload = Upload()
    await _receive(request, upload.append, max_bytes, max_bytes)
    if not upload.size:
        raise BadRequest("The body is empty. Send a multipart form with one file, or the image itself.")
    return upload


async def read_uploads(request: Request, *, max_files: int, max_file_bytes: int, max_bytes: int) -> list[Upload]:
    """Read the images of a batch request, in the order of the form. A file over its limit carries an error.

    Raises:
        BadRequest: The form is malformed or holds no image.
        UnsupportedRequest: The body is not a form.
        UploadTooLarge: The form has more than `max_files` files or more than `max_bytes`.
        UploadTimeout, Overloaded: As `gateway.http.middleware.body_limits` raises them.
    """
    media_type, boundary = _content_type(request)
    if media_type != "multipart/form-data":
        raise UnsupportedRequest("Send a batch as a multipart form with one file for each image.")
    with closing(MultipartForm(boundary, max_files=max_files, max_file_bytes=max_file_bytes)) as form:
        await _receive(request, form.feed, max_bytes, max_bytes)
        return form.finish()


async def read_body(request: Request, *, max_bytes: int) -> Upload:
    """Read the whole body, of any media type, without inflating it; see `compression`.

    Raises:
        UploadTooLarge: It has more than `max_bytes`.
    """
    upload = Upload()
    await _receive(request, upload.append, max_bytes, max_bytes)
    return upload


async def read_json(request: Request, kind: type[ModelT]) -> ModelT:
    """Read a small JSON body.

    Raises:
        UploadTooLarge: It has more than `MAX_JSON_BYTES`.
        RequestValidationError: It does not match `kind`.
    """
    body = await read_body(request, max_bytes=MAX_JSON_BYTES)
    try:
        return kind.model_validate_json(b"".join(body.data))
    except ValidationError as error:
        details = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_context=False)]
        raise RequestValidationError(details) from None


def compression(request: Request, max_bytes: int) -> dict[str, object]:
    """Arguments that make a job of `gateway.workers.jobs` inflate a compressed body; empty for other bodies.

    Raises:
        UnsupportedRequest: The content encoding is not accepted.
    """
    encoding = _content_encoding(request)
    if not encoding:
        return {}
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedRequest(f"The content encoding {encoding[:40]!r} is not accepted; gzip and deflate are.")
    return {"compressed": True, "max_bytes": max_bytes}


def _content_encoding(request: Request) -> str:
    """Content encoding of the body, in lower case; empty if it is not compressed."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def _content_type(request: Request) -> tuple[str, bytes]:
    if encoding := _content_encoding(request):
        raise UnsupportedRequest(
            f"A body with Content-Encoding {encoding[:40]!r} is not accepted. "
            "Send images without it; they are already compressed."
        )
    media_type, options = header_parameters(request.headers.get("content-type", ""))
    return media_type.decode("latin-1").lower(), options.get(b"boundary", b"")


async def _receive(request: Request, feed: Callable[[bytes], None], max_body: int, limit: int) -> None:
    """Pass the pieces of the body to `feed`, up to `max_body` bytes. The error message states `limit`."""
    too_large = UploadTooLarge(f"The upload is larger than the limit of {limit:,} bytes.", limit=limit)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_body:
        raise too_large
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > max_body:
                raise too_large
            if piece:
                feed(piece)
    except ClientDisconnect as error:
        raise BadRequest("The upload is incomplete.") from error
