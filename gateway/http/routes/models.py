"""List and describe models."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

from fastapi import APIRouter, Depends, Request

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.compressed import CompressedRoute
from gateway.http.model_schemas import InputSize, ModelDetail, ModelList, ModelSummary, VersionState
from gateway.http.parameters import ModelName, SelectorDep, time_limit
from gateway.http.problems import responses
from gateway.http.services import deadline_of, services_of
from gateway.pb.serving_pb2 import ModelVersionStatus
from gateway.services.services import Services

router = APIRouter(
    prefix="/api/v1/models", tags=["models"], dependencies=[Depends(time_limit)], route_class=CompressedRoute
)

AVAILABLE = ModelVersionStatus.State.AVAILABLE


@router.get(
    "",
    summary="List the models",
    response_description="The models, the default one first.",
    responses=responses(
        errors.InvalidParameter, errors.ModelServerUnavailable, errors.ModelServerFailed, errors.DeadlineExceeded
    ),
)
async def list_models(request: Request) -> ModelList:
    """List the configured models: whether each is ready, and the states of its versions."""
    services, deadline = services_of(request), deadline_of(request)
    names = services.settings.served_models
    states = await asyncio.gather(*(_versions(services, name, deadline) for name in names))
    ready = await services.readiness.check(names)
    return ModelList(
        models=[
            _summary(services, name, versions, ready[name].reason) for name, versions in zip(names, states, strict=True)
        ]
    )


@router.get(
    "/{model}",
    summary="Describe a model",
    response_description="The model.",
    responses=responses(
        errors.UnknownModel,
        errors.UnknownVersion,
        errors.InvalidParameter,
        errors.UnsupportedModel,
        errors.ModelServerFailed,
        errors.ModelServerUnavailable,
        errors.NotReady,
        errors.DeadlineExceeded,
    ),
)
async def model_detail(request: Request, model: ModelName, selector: SelectorDep) -> ModelDetail:
    """Describe a model: versions and states, input size, labels and model card."""
    services, deadline = services_of(request), deadline_of(request)
    contract = (await services.resolver.described(model, selector, deadline)).checked_contract()
    versions = await services.resolver.versions(model, deadline)
    reason = ""
    if model in services.settings.served_models:
        reason = (await services.readiness.check(services.settings.served_models))[model].reason
    summary = _summary(services, model, versions, reason)
    return ModelDetail(
        **dict(summary),
        version=contract.version,
        input=InputSize(height=contract.target.height, width=contract.target.width, fit=contract.target.fit),
        labels=list(contract.labels),
        unknown_threshold=contract.unknown_threshold,
        multi_label=contract.multi_label,
        explains=contract.explains,
        embeds=contract.embeds,
        feedback=services.prediction_log is not None and not contract.multi_label,
        keeps_photos=services.settings.prediction_log_photos != "none",
        card=dict(contract.card) if contract.card is not None else None,
    )


async def _versions(services: Services, name: str, deadline: Deadline) -> list[ModelVersionStatus]:
    try:
        return await services.resolver.versions(name, deadline)
    except errors.UnknownModel:
        return []


def _summary(services: Services, name: str, versions: list[ModelVersionStatus], reason: str) -> ModelSummary:
    return ModelSummary(
        name=name,
        available=not reason and any(one.state == AVAILABLE for one in versions),
        reason=reason or None,
        versions=[VersionState(version=one.version, state=_state(one)) for one in versions],
        default=name == services.settings.default_model,
    )


StateName = Literal["unknown", "start", "loading", "available", "unloading", "end"]


def _state(status: ModelVersionStatus) -> StateName:
    is_defined = status.state in ModelVersionStatus.State.values()
    return cast(StateName, ModelVersionStatus.State.Name(status.state).lower() if is_defined else "unknown")
