"""Labels with heat maps: where in a photo the model looked."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.parameters import ModelName, SelectorDep, TopKDep, time_limit
from gateway.http.problems import responses
from gateway.http.request_body import read_upload
from gateway.http.routes.image_form import SINGLE_BODY, SINGLE_RESPONSES, ranked_fields
from gateway.http.schemas import Box, ExplainedBreed, ExplainedLabel, HeatMap, ModelVersion
from gateway.http.services import RecordDep, Services, ServicesDep, deadline_of
from gateway.inference.explainer import Explanation
from gateway.observability.request_record import RequestRecord
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
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    selector: SelectorDep,
    top_k: TopKDep,
    form: FormatParameter = "json",
) -> Response:
    """Classify one photo with the default model, and return a heat map of where the model looked."""
    found, picture = await _explained(request, services, record, services.settings.default_model, selector, top_k, form)
    if picture is not None:
        return _sent(found, record, picture, PNG)
    breed, looks_like, confidence, predictions = ranked_fields(found.ranked)
    return _answer(
        found,
        record,
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
    summary="Explain the label of an image",
    response_model=ExplainedLabel,
    responses=RESPONSES,
    openapi_extra=SINGLE_BODY,
)
async def explain(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    model: ModelName,
    selector: SelectorDep,
    top_k: TopKDep,
    form: FormatParameter = "json",
) -> Response:
    """Classify one image with a model, and return a heat map of where the model looked."""
    found, picture = await _explained(request, services, record, model, selector, top_k, form)
    if picture is not None:
        return _sent(found, record, picture, PNG)
    label, looks_like, confidence, predictions = ranked_fields(found.ranked)
    return _answer(
        found,
        record,
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
    request: Request,
    services: Services,
    record: RequestRecord,
    model: str,
    selector: Selector,
    top_k: int | None,
    form: str,
) -> tuple[Explanation, bytes | None]:
    with record.stage("upload"):
        upload = await read_upload(request, max_bytes=services.settings.max_upload_bytes)
    record.images, record.image_bytes = 1, upload.size
    deadline = deadline_of(request)
    wanted = top_k or services.settings.default_top_k
    async with services.admit(request, 1):
        selector = await services.route(request, model, selector, deadline)
        found = await services.explainer.explain(model, selector, upload.data, wanted, deadline, record)
        picture = await services.explainer.painted(upload.data, found, deadline, record) if form == "png" else None
    return found, picture


def _model(found: Explanation) -> ModelVersion:
    return ModelVersion(name=found.contract.model, version=found.contract.version)


def _heatmap(found: Explanation) -> HeatMap:
    box = found.box
    return HeatMap(
        values=[[round(value, HEAT_DECIMALS) for value in row] for row in found.heatmap.tolist()],
        box=Box(left=box.left, top=box.top, right=box.right, bottom=box.bottom),
    )


def _answer(found: Explanation, record: RequestRecord, answer: ExplainedBreed | ExplainedLabel) -> Response:
    return _sent(found, record, to_json(answer), "application/json")


def _sent(found: Explanation, record: RequestRecord, content: bytes, media_type: str) -> Response:
    headers = {"X-Model-Version": str(found.contract.version), "Server-Timing": record.server_timing()}
    return Response(content, media_type=media_type, headers=headers)
