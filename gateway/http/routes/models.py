"""What is served."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

from fastapi import APIRouter, Depends, Request

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.parameters import ModelName, SelectorDep, time_limit
from gateway.http.problems import responses
from gateway.http.schemas import InputSize, ModelDetail, ModelList, ModelSummary, VersionState
from gateway.http.services import Services, ServicesDep, deadline
from gateway.pb.serving_pb2 import ModelVersionStatus

router = APIRouter(prefix="/api/v1/models", tags=["models"], dependencies=[Depends(time_limit)])

AVAILABLE = ModelVersionStatus.State.AVAILABLE


@router.get(
    "",
    summary="The configured models",
    response_description="The models, the default one first.",
    responses=responses(
        errors.InvalidParameter, errors.ModelServerUnavailable, errors.ModelServerFailed, errors.DeadlineExceeded
    ),
)
async def list_models(request: Request, parts: ServicesDep) -> ModelList:
    """List the configured models and the states of their versions; one that is not there has none."""
    names, within = parts.settings.served_models, deadline(request)
    found = await asyncio.gather(*(_versions(parts, name, within) for name in names))
    return ModelList(models=[_summary(parts, name, versions) for name, versions in zip(names, found, strict=True)])


@router.get(
    "/{model}",
    summary="All that is known of a model",
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
async def model_detail(request: Request, parts: ServicesDep, model: ModelName, selector: SelectorDep) -> ModelDetail:
    """Describe one model: its versions and states, input size, labels and model card."""
    within = deadline(request)
    contract = await parts.resolver.resolve(model, selector, within)
    versions = await parts.resolver.versions(model, within)
    summary = _summary(parts, model, versions)
    return ModelDetail(
        name=summary.name,
        available=summary.available,
        versions=summary.versions,
        default=summary.default,
        version=contract.version,
        input=InputSize(height=contract.target.height, width=contract.target.width, fit=contract.target.fit),
        labels=list(contract.labels),
        unknown_threshold=contract.unknown_threshold,
        explains=contract.explains,
        card=dict(contract.card) if contract.card is not None else None,
    )


async def _versions(parts: Services, name: str, deadline: Deadline) -> list[ModelVersionStatus]:
    try:
        return await parts.resolver.versions(name, deadline)
    except errors.UnknownModel:
        return []


def _summary(parts: Services, name: str, versions: list[ModelVersionStatus]) -> ModelSummary:
    return ModelSummary(
        name=name,
        available=any(one.state == AVAILABLE for one in versions),
        versions=[VersionState(version=one.version, state=_state(one)) for one in versions],
        default=name == parts.settings.default_model,
    )


StateName = Literal["unknown", "start", "loading", "available", "unloading", "end"]


def _state(status: ModelVersionStatus) -> StateName:
    known = status.state in ModelVersionStatus.State.values()
    return cast(StateName, ModelVersionStatus.State.Name(status.state).lower() if known else "unknown")
