"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from gateway import errors
from gateway.http.middleware.access import has_access
from gateway.http.problems import responses
from gateway.http.schemas import Health, Readiness
from gateway.http.services import Services, ServicesDep

router = APIRouter(tags=["health"])


async def _may_see_models(request: Request) -> bool:
    return has_access(request.scope)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Check that the process is alive", response_description="The process is alive.")
async def livez() -> Health:
    """Answer while the process runs, whatever the state of the model server."""
    return Health()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Check that the process is alive", response_description="The process is alive.")
async def healthz() -> Health:
    """Answer like `/livez`, for load balancers that expect this name."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Check that every model is ready",
    response_description="Every model is ready.",
    responses=responses(errors.NotReady),
)
async def readyz(services: ServicesDep, told: Annotated[bool, Depends(_may_see_models)] = True) -> Readiness:
    """Answer 200 if every configured model is ready, otherwise 503 and the reasons.

    A model is ready if it has an available version that the gateway supports and that has answered a test image.

    If API keys are set, names and versions are shown only to callers with a key.
    """
    if services.shutdown.draining:
        raise errors.NotReady("The gateway is shutting down.")
    found = await services.readiness.check(services.settings.served_models)
    missing = {name: one.reason for name, one in found.items() if one.reason}
    if missing and not told:
        raise errors.NotReady("Not all models are ready.")
    if missing:
        listed = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise errors.NotReady(f"Not all models are ready. {listed}", missing=missing)
    versions = {name: list(one.versions) for name, one in found.items()}
    return Readiness(models=versions if told else {})


@router.get(
    "/metrics",
    summary="Get the metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus' text format, or OpenMetrics if the client accepts it."}},
)
def metrics(request: Request) -> Response:
    """Return the metrics of all gateway processes."""
    services = request.state.services
    assert isinstance(services, Services)
    content, media_type = services.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
