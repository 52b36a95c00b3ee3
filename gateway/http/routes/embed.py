"""Embed images: return the features of a model."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends, Request, Response

from gateway import errors
from gateway.http.image_body import admitted, read_batch, read_image
from gateway.http.parameters import ModelName, SelectorDep, time_limit
from gateway.http.problems import responses
from gateway.http.routes.image_form import (
    BATCH_BODY,
    IMAGE_ERRORS,
    SHARED_ERRORS,
    SINGLE_BODY,
    failed_item,
    json_answer,
)
from gateway.http.schemas import EmbeddingAnswer, EmbeddingBatch
from gateway.http.services import services_of
from gateway.http.upload import Upload
from gateway.inference.embedder import Embedding, Embeddings
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])

DECIMALS = 6
"""Digits of a value that mean something: padding a batch already moves the seventh."""

ERRORS = (*SHARED_ERRORS, errors.SignatureMissing)


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
    upload = await read_image(request)
    answer = await _embedded(request, model, selector, [upload])
    [result] = answer.results
    if isinstance(result, errors.GatewayError):
        raise result
    return json_answer(request, answer.contract, _fields(result))


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
    uploads = await read_batch(request)
    answer = await _embedded(request, model, selector, uploads)
    results = [_item(*pair) for pair in zip(uploads, answer.results, strict=True)]
    return json_answer(request, answer.contract, {"results": results})


async def _embedded(request: Request, model: str, selector: Selector, uploads: Sequence[Upload]) -> Embeddings:
    services, contents = services_of(request), [one.content for one in uploads]
    async with admitted(request, uploads) as call:
        selector = await services.route(call, model, selector)
        return await services.embedder.embed(model, selector, contents, call.deadline, call.record)


def _item(upload: Upload, result: Embedding | errors.GatewayError) -> dict[str, object]:
    if isinstance(result, errors.GatewayError):
        return failed_item(upload, result)
    return {**_fields(result), "filename": upload.filename}


def _fields(embedding: Embedding) -> dict[str, object]:
    return {"embedding": [round(value, DECIMALS) for value in embedding.tolist()]}
