"""Convert an image to a small JPEG, for browsers that cannot show its format."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from gateway import errors
from gateway.http.image_body import admitted, read_image
from gateway.http.parameters import time_limit
from gateway.http.problems import responses
from gateway.http.routes.image_form import IMAGE_ERRORS, SINGLE_BODY
from gateway.http.services import services_of

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
        *IMAGE_ERRORS,
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
    workers = services_of(request).image_workers
    upload = await read_image(request)
    async with admitted(request, [upload]) as call:
        with call.record.stage("decode"):
            reply = await workers.run(
                "image_preview", {"max_side": max_side}, [upload.data], call.record.turn, call.deadline
            )
    return Response(reply.buffers[0], media_type=JPEG, headers={"Server-Timing": call.record.server_timing()})
