"""Classify an image and return a heat map of where the model looked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.image_body import admitted, read_image
from gateway.http.parameters import ModelName, SelectorDep, TopKDep, time_limit
from gateway.http.problems import responses
from gateway.http.routes.image_form import (
    SINGLE_BODY,
    SINGLE_RESPONSES,
    LabelField,
    answer_headers,
    model_field,
    result_fields,
)
from gateway.http.schemas import ExplainedBreed, ExplainedLabel
from gateway.http.services import services_of
from gateway.inference.explainer import Explanation
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])

HEAT_DECIMALS = 4

PNG = "image/png"
RESPONSES: dict[int | str, dict[str, object]] = {
    **SINGLE_RESPONSES,
    **responses(errors.UnknownModel, errors.UnknownVersion, errors.SignatureMissing),
    200: {
        "description": "The label and the heat map or, with `format=png`, the photo with the heat map painted over it.",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    },
}

FormatParameter = Annotated[
    Literal["json", "png"],
    Query(
        alias="format",
        description="`json` returns the label and the heat map, `png` the photo with the heat map painted over it.",
        examples=["json"],
    ),
]


@router.post(
    "/predict_breed/explain",
    summary="Explain the breed of a dog in a photo",
    response_model=ExplainedBreed,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def explain_breed(
    request: Request, selector: SelectorDep, top_k: TopKDep, form: FormatParameter = "json"
) -> Response:
    """Classify one photo with the default model, and return a heat map of where the model looked."""
    return await _explain(request, services_of(request).settings.default_model, selector, top_k, form, "breed")


@router.post(
    "/models/{model}/explain",
    summary="Explain the label of an image",
    response_model=ExplainedLabel,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def explain(
    request: Request, model: ModelName, selector: SelectorDep, top_k: TopKDep, form: FormatParameter = "json"
) -> Response:
    """Classify one image with a model, and return a heat map of where the model looked."""
    return await _explain(request, model, selector, top_k, form, "label")


async def _explain(
    request: Request, model: str, selector: Selector, top_k: int | None, form: str, label_field: LabelField
) -> Response:
    services = services_of(request)
    upload = await read_image(request)
    async with admitted(request, [upload]) as call:
        deadline, record = call.deadline, call.record
        selector = await services.route(call, model, selector)
        explanation = await services.explainer.explain(
            model, selector, upload.data, top_k or services.settings.default_top_k, deadline, record
        )
        if form == "png":
            content, media_type = await services.explainer.painted(upload.data, explanation, deadline, record), PNG
        else:
            fields = result_fields(explanation.ranked, label_field) | model_field(explanation.contract)
            content, media_type = to_json(fields | {"heatmap": _heatmap(explanation)}), "application/json"
    return Response(content, media_type=media_type, headers=answer_headers(request, explanation.contract))


def _heatmap(explanation: Explanation) -> dict[str, object]:
    values = [[round(value, HEAT_DECIMALS) for value in row] for row in explanation.heatmap.tolist()]
    return {"values": values, "box": asdict(explanation.box)}
