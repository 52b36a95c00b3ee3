"""Convert an image to a small JPEG, for browsers that cannot show its format."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from gateway import errors
from gateway.http.image_body import read_image
from gateway.http.parameters import time_limit
from gateway.http.problems import responses
from gateway.http.routes.image_form import SINGLE_BODY
from gateway.http.services import call_of, record_of, services_of

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])

JPEG = "image/jpeg"
DEFAULT_MAX_SIDE, MIN_SIDE, MAX_SIDE = 1024, 16, 2048

RESPONSES: dict[int | str, dict[str, object]] = {
    **responses(
        errors.BadRequest,
        errors.UploadTimeout,
        errors.UploadTooLarge,
        errors.UnsupportedRequest,
        errors.InvalidParameter,
        errors.Overloaded,
        errors.InternalError,
        errors.DeadlineExceeded,
        errors.UnsupportedImage,
        errors.ImageNotFetched,
        errors.InvalidImage,
        errors.ImageTooLarge,
    ),
    200: {
        "description": "The image: upright, RGB, without metadata.",
        "content": {JPEG: {"schema": {"type": "string", "format": "binary"}}},
    },
}


@router.post(
    "/preview",
    summary="Convert an image to a small JPEG",
    response_class=Response,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def preview(
    request: Request,
    max_side: Annotated[
        int,
        Query(
            ge=MIN_SIDE,
            le=MAX_SIDE,
            description="Maximum length of the longer side, in pixels. Smaller images keep their size.",
            examples=[DEFAULT_MAX_SIDE],
        ),
    ] = DEFAULT_MAX_SIDE,
) -> Response:
    """Convert an image to a JPEG that every browser can show. No model is used."""
    services, record = services_of(request), record_of(request)
    upload = await read_image(request)
    record.images, record.image_bytes = 1, upload.size
    call = call_of(request)
    async with services.admit(call, 1):
        with record.stage("decode"):
            reply = await services.image_workers.run(
                "image_preview", {"max_side": max_side}, [upload.data], record.turn, call.deadline
            )
    return Response(reply.buffers[0], media_type=JPEG, headers={"Server-Timing": record.server_timing()})
