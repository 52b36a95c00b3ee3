"""Embed images: return the features of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.parameters import ModelName, SelectorDep, time_limit
from gateway.http.problems import problem, responses
from gateway.http.request_body import read_upload, read_uploads
from gateway.http.routes.image_form import (
    BATCH_BODY,
    SHARED_ERRORS,
    SINGLE_BODY,
    model_field,
)
from gateway.http.schemas import EmbeddingAnswer, EmbeddingBatch
from gateway.http.services import call_of, record_of, services_of
from gateway.http.upload import Upload
from gateway.inference.embedder import Embedding, Embeddings
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])

DECIMALS = 6
"""Digits of a value that mean something: padding a batch already moves the seventh."""

ERRORS = (*SHARED_ERRORS, errors.SignatureMissing)
IMAGE_ERRORS = (errors.UnsupportedImage, errors.InvalidImage, errors.ImageTooLarge)


@router.post(
    "/models/{model}/embed",
    summary="Embed an image",
    response_model=EmbeddingAnswer,
    response_description="The embedding.",
    responses=responses(*ERRORS, *IMAGE_ERRORS),
    openapi_extra=SINGLE_BODY,
)
async def embed(request: Request, model: ModelName, selector: SelectorDep) -> Response:
    """Return the features of one image, a vector of length 1. The dot product of two vectors is their similarity."""
    with record_of(request).stage("upload"):
        upload = await read_upload(request, max_bytes=services_of(request).settings.max_upload_bytes)
    answer = await _embedded(request, model, selector, [upload])
    [result] = answer.results
    if isinstance(result, errors.GatewayError):
        raise result
    return _response(request, answer, _fields(result))


@router.post(
    "/models/{model}/embed_batch",
    summary="Embed several images",
    response_model=EmbeddingBatch,
    response_description="An embedding or an error for each image.",
    responses=responses(*ERRORS),
    openapi_extra=BATCH_BODY,
)
async def embed_batch(request: Request, model: ModelName, selector: SelectorDep) -> Response:
    """Return the features of several images. An image that fails does not affect the others."""
    settings = services_of(request).settings
    services_of(request).admission.check_batch()
    with record_of(request).stage("upload"):
        uploads = await read_uploads(
            request,
            max_files=settings.max_batch_images,
            max_file_bytes=settings.max_upload_bytes,
            max_bytes=settings.max_batch_upload_bytes,
        )
    answer = await _embedded(request, model, selector, uploads)
    return _response(request, answer, {"results": [_item(*pair) for pair in zip(uploads, answer.results, strict=True)]})


async def _embedded(request: Request, model: str, selector: Selector, uploads: Sequence[Upload]) -> Embeddings:
    services, call = services_of(request), call_of(request)
    record = call.record
    record.images, record.image_bytes = len(uploads), sum(one.size for one in uploads)
    async with services.admit(call, len(uploads)):
        selector = await services.route(call, model, selector)
        return await services.embedder.embed(model, selector, [one.content for one in uploads], call.deadline, record)


def _item(upload: Upload, result: Embedding | errors.GatewayError) -> dict[str, object]:
    if isinstance(result, errors.GatewayError):
        return {"filename": upload.filename, "error": problem(result, with_request_id=False)}
    return {**_fields(result), "filename": upload.filename}


def _fields(embedding: Embedding) -> dict[str, object]:
    return {"embedding": [round(value, DECIMALS) for value in embedding.tolist()]}


def _response(request: Request, answer: Embeddings, fields: Mapping[str, object]) -> Response:
    headers = {"X-Model-Version": str(answer.contract.version), "Server-Timing": record_of(request).server_timing()}
    body = to_json({**fields, **model_field(answer.contract)})
    return Response(body, headers=headers, media_type="application/json")
