"""Whether the process lives, and whether it can answer."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway import errors
from gateway.deadline import Deadline
from gateway.dependencies import Services, ServicesDep
from gateway.problems import responses
from gateway.schemas import Health, Readiness

router = APIRouter(tags=["health"])

PROBE_SECONDS = 2.0
"""Deadline of the status calls: under the timeout that orchestrators give a probe by habit."""


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="The process answers", response_description="It does.")
async def healthz() -> Health:
    """Say that the process is alive; it asks nobody."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Every configured model can answer",
    response_description="They can.",
    responses=responses(errors.NotReady),
)
async def readyz(parts: ServicesDep) -> Readiness:
    """Ask the model server for an available version of every configured model, and say which are missing."""
    if parts.stopping.now:
        raise errors.NotReady("The gateway is stopping.")
    deadline = Deadline.after(PROBE_SECONDS)
    names = parts.settings.served_models
    found = dict(zip(names, await asyncio.gather(*(_available(parts, name, deadline) for name in names)), strict=True))
    missing = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    if missing:
        listed = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise errors.NotReady(f"Not every model can answer yet. {listed}", missing=missing)
    return Readiness(models={name: versions for name, versions in found.items() if not isinstance(versions, str)})


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus' text format, or OpenMetrics where it is accepted."}},
)
def metrics(request: Request) -> Response:
    """Give the metrics of all workers."""
    parts = request.state.services
    assert isinstance(parts, Services)
    content, media_type = parts.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


async def _available(parts: Services, name: str, deadline: Deadline) -> list[int] | str:
    """Available versions of a model, or why there are none."""
    try:
        available = await parts.resolver.available(name, deadline)
    except errors.GatewayError as error:
        return error.detail
    return available or f"The model {name!r} has no available version."
