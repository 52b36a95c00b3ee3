"""Where in a photo a model saw what it answers."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.multipart import read_upload
from gateway.http.parameters import ModelName, SelectorDep, TopKDep, time_limit
from gateway.http.problems import responses
from gateway.http.routes.predictions import SINGLE_BODY, SINGLE_RESPONSES, ranked_fields
from gateway.http.schemas import Box, ExplainedBreed, ExplainedLabel, HeatMap, ModelVersion
from gateway.http.services import CallDep, Services, ServicesDep, deadline
from gateway.inference.explainer import Explanation
from gateway.observability.request_record import Call
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["predictions"], dependencies=[Depends(time_limit)])

HEAT_DECIMALS = 4

PNG = "image/png"
RESPONSES: dict[int | str, dict[str, object]] = {
    **SINGLE_RESPONSES,
    **responses(errors.UnknownModel, errors.UnknownVersion, errors.SignatureMissing),
    200: {
        "description": "The answer and its heat map; or, with `format=png`, the photo with the heat map over it.",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    },
}

FormatParameter = Annotated[
    Literal["json", "png"],
    Query(
        alias="format",
        description="`json` for the answer and its heat map, `png` for a picture of both.",
        examples=["json"],
    ),
]


@router.post(
    "/predict_breed/explain",
    summary="The breed of a dog in a photo, and where it shows",
    response_model=ExplainedBreed,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def explain_breed(
    request: Request,
    parts: ServicesDep,
    call: CallDep,
    selector: SelectorDep,
    top_k: TopKDep,
    form: FormatParameter = "json",
) -> Response:
    """Answer with the breed that the default model sees in one photo, and what in it speaks for that breed."""
    found, picture = await _explained(request, parts, call, parts.settings.default_model, selector, top_k, form)
    if picture is not None:
        return _sent(found, call, picture, PNG)
    breed, looks_like, confidence, predictions = ranked_fields(found.ranked)
    return _answer(
        found,
        call,
        ExplainedBreed(
            breed=breed,
            looks_like=looks_like,
            confidence=confidence,
            predictions=predictions,
            model=_model(found),
            heatmap=_heatmap(found),
        ),
    )


@router.post(
    "/models/{model}/explain",
    summary="The label of an image, and where it shows, by any served model",
    response_model=ExplainedLabel,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def explain(
    request: Request,
    parts: ServicesDep,
    call: CallDep,
    model: ModelName,
    selector: SelectorDep,
    top_k: TopKDep,
    form: FormatParameter = "json",
) -> Response:
    """Answer with the label that a model gives one image, and what in it speaks for that label."""
    found, picture = await _explained(request, parts, call, model, selector, top_k, form)
    if picture is not None:
        return _sent(found, call, picture, PNG)
    label, looks_like, confidence, predictions = ranked_fields(found.ranked)
    return _answer(
        found,
        call,
        ExplainedLabel(
            label=label,
            looks_like=looks_like,
            confidence=confidence,
            predictions=predictions,
            model=_model(found),
            heatmap=_heatmap(found),
        ),
    )


async def _explained(
    request: Request, parts: Services, call: Call, model: str, selector: Selector, top_k: int | None, form: str
) -> tuple[Explanation, bytes | None]:
    with call.stage("upload"):
        upload = await read_upload(request, max_bytes=parts.settings.max_upload_bytes)
    call.images, call.image_bytes = 1, upload.size
    within = deadline(request)
    wanted = top_k or parts.settings.default_top_k
    async with parts.admit(request, 1):
        selector = await parts.route(request, model, selector, within)
        found = await parts.explainer.explain(model, selector, upload.data, wanted, within, call)
        picture = await parts.explainer.painted(upload.data, found, within, call) if form == "png" else None
    return found, picture


def _model(found: Explanation) -> ModelVersion:
    return ModelVersion(name=found.contract.model, version=found.contract.version)


def _heatmap(found: Explanation) -> HeatMap:
    box = found.box
    return HeatMap(
        values=[[round(value, HEAT_DECIMALS) for value in row] for row in found.heatmap.tolist()],
        box=Box(left=box.left, top=box.top, right=box.right, bottom=box.bottom),
    )


def _answer(found: Explanation, call: Call, answer: ExplainedBreed | ExplainedLabel) -> Response:
    return _sent(found, call, to_json(answer), "application/json")


def _sent(found: Explanation, call: Call, content: bytes, media_type: str) -> Response:
    headers = {"X-Model-Version": str(found.contract.version), "Server-Timing": call.server_timing()}
    return Response(content, media_type=media_type, headers=headers)
