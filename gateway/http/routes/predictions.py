"""Classify images."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from gateway import errors
from gateway.http.classification import classified
from gateway.http.image_body import admitted, read_batch, read_image
from gateway.http.parameters import ModelName, SelectorDep, TopKDep, time_limit
from gateway.http.routes.image_form import (
    BATCH_BODY,
    BATCH_RESPONSES,
    SINGLE_BODY,
    SINGLE_RESPONSES,
    LabelField,
    failed_item,
    json_answer,
    result_fields,
)
from gateway.http.schemas import BreedAnswer, BreedBatch, LabelAnswer, LabelBatch
from gateway.http.services import services_of
from gateway.http.upload import Upload
from gateway.inference.scores import Ranked
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])


@router.post(
    "/predict_breed",
    summary="Classify a photo of a dog",
    response_model=BreedAnswer,
    response_description="The breed, or null if the photo is unknown.",
    responses=SINGLE_RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def predict_breed(request: Request, selector: SelectorDep, top_k: TopKDep) -> Response:
    """Classify one photo with the default model."""
    return await _predict(request, services_of(request).settings.default_model, selector, top_k, "breed")


@router.post(
    "/predict_breed/batch",
    summary="Classify several photos of dogs",
    response_model=BreedBatch,
    response_description="A breed or an error for each photo.",
    responses=BATCH_RESPONSES,
    openapi_extra=BATCH_BODY,
)
async def predict_breed_batch(request: Request, selector: SelectorDep, top_k: TopKDep) -> Response:
    """Classify several photos with the default model. A photo that fails does not affect the others."""
    return await _predict_batch(request, services_of(request).settings.default_model, selector, top_k, "breed")


@router.post(
    "/models/{model}/predict",
    summary="Classify an image",
    response_model=LabelAnswer,
    response_description="The label, or null if the image is unknown.",
    responses=SINGLE_RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def predict(request: Request, model: ModelName, selector: SelectorDep, top_k: TopKDep) -> Response:
    """Classify one image with any model."""
    return await _predict(request, model, selector, top_k, "label")


@router.post(
    "/models/{model}/predict_batch",
    summary="Classify several images",
    response_model=LabelBatch,
    response_description="A label or an error for each image.",
    responses=BATCH_RESPONSES,
    openapi_extra=BATCH_BODY,
)
async def predict_batch(request: Request, model: ModelName, selector: SelectorDep, top_k: TopKDep) -> Response:
    """Classify several images with any model. An image that fails does not affect the others."""
    return await _predict_batch(request, model, selector, top_k, "label")


async def _predict(
    request: Request, model: str, selector: Selector, top_k: int | None, label_field: LabelField
) -> Response:
    upload = await read_image(request)
    async with admitted(request, [upload]) as call:
        answer = await classified(services_of(request), call, model, selector, [upload], top_k)
    [result] = answer.results
    if isinstance(result, errors.GatewayError):
        raise result
    return json_answer(request, answer.contract, result_fields(result, label_field))


async def _predict_batch(
    request: Request, model: str, selector: Selector, top_k: int | None, label_field: LabelField
) -> Response:
    uploads = await read_batch(request)
    async with admitted(request, uploads) as call:
        answer = await classified(services_of(request), call, model, selector, uploads, top_k)
    results = [_item(*pair, label_field) for pair in zip(uploads, answer.results, strict=True)]
    return json_answer(request, answer.contract, {"results": results})


def _item(upload: Upload, result: Ranked | errors.GatewayError, label_field: LabelField) -> dict[str, object]:
    if isinstance(result, Ranked):
        return {**result_fields(result, label_field), "filename": upload.filename}
    return failed_item(upload, result)
