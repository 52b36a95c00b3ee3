"""Read and admit the images of a request: one, which may also be the URL of an image, or a batch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Request

from gateway.errors import BadRequest
from gateway.http.request_body import read_upload, read_uploads
from gateway.http.services import call_of, record_of, services_of
from gateway.http.upload import Upload
from gateway.services.services import Call
from gateway.tensors.json_values import HEAD_BYTES, is_json_object

MAX_URL_BODY_BYTES = 4096
"""Size of a body that may be ``{"url": "..."}``; larger JSON is parsed in a worker process only."""


async def read_image(request: Request) -> Upload:
    """Read an image as `read_upload` does; fetch it if the body is ``{"url": "..."}`` and the gateway offers that.

    Raises:
        BadRequest: The url is not a string.
        GatewayError: As `read_upload` and `ImageFetcher.fetch` raise it.
    """
    services, record = services_of(request), record_of(request)
    with record.stage("upload"):
        upload = await read_upload(request, max_bytes=services.settings.max_upload_bytes)
        fetcher = services.image_fetcher
        if fetcher is None or upload.size > MAX_URL_BODY_BYTES or not is_json_object(upload.head(HEAD_BYTES)):
            return upload
        try:
            body = json.loads(b"".join(upload.data))
        except (ValueError, RecursionError):
            return upload
        if "url" not in body:
            return upload
        url = body["url"]
        if not isinstance(url, str):
            raise BadRequest("url must be a string.")
        image = Upload(fetched=True)
        services.admission.begin_upload(record.caller)
        try:
            for piece in await fetcher.fetch(url, lambda count: services.admission.hold(record.turn, count)):
                image.append(piece)
        finally:
            services.admission.end_upload(record.caller)
        return image


async def read_batch(request: Request) -> list[Upload]:
    """Refuse a batch request as `Admission.check_batch` does, or read its images as `read_uploads` does."""
    services = services_of(request)
    settings = services.settings
    services.admission.check_batch()
    with record_of(request).stage("upload"):
        return await read_uploads(
            request,
            max_files=settings.max_batch_images,
            max_file_bytes=settings.max_upload_bytes,
            max_bytes=settings.max_batch_upload_bytes,
        )


@asynccontextmanager
async def admitted(request: Request, uploads: Sequence[Upload]) -> AsyncIterator[Call]:
    """A request as a call that holds permits for its images. Raises as `Services.admit` does."""
    call = call_of(request)
    call.record.images, call.record.image_bytes = len(uploads), sum(one.size for one in uploads)
    async with services_of(request).admit(call, len(uploads)):
        yield call
