"""Read the one image of a request, which may also be the URL of an image."""

from __future__ import annotations

import json

from fastapi import Request

from gateway.errors import BadRequest
from gateway.http.request_body import read_upload
from gateway.http.services import record_of, services_of
from gateway.http.upload import Upload
from gateway.tensors.json_values import HEAD_BYTES, is_json_object

MAX_URL_BODY_BYTES = 4096
"""Size of a body that may be ``{"url": "..."}``; larger JSON is parsed in a worker process only."""


async def read_image(request: Request) -> Upload:
    """Read an image as `read_upload` does; fetch it if the body is ``{"url": "..."}`` and the gateway offers that.

    Raises:
        BadRequest: The url is not a string.
        ImageNotFetched: As `ImageFetcher.fetch` raises it.
        GatewayError: As `read_upload` raises it.
    """
    services, record = services_of(request), record_of(request)
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
    image = Upload()
    services.admission.begin_upload(record.caller)
    try:
        for piece in await fetcher.fetch(url, lambda count: services.admission.hold(record.turn, count)):
            image.append(piece)
    finally:
        services.admission.end_upload(record.caller)
    return image
