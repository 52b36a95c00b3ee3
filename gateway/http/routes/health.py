"""Liveness, readiness and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway import errors
from gateway.http.middleware.access import has_access
from gateway.http.model_schemas import Health, Readiness
from gateway.http.problems import responses
from gateway.http.services import services_of
from gateway.services.readiness import ready_versions

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Check that the process is alive", response_description="The process is alive.")
async def livez() -> Health:
    """Answer 200 while the process runs. The state of the model server does not matter."""
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
async def readyz(request: Request) -> Readiness:
    """Answer 200 if every configured model is ready, otherwise 503 and the reasons.

    A model is ready if it has an available version that the gateway supports and that has answered a test image.

    If API keys are set, names and versions are shown only to callers with a key.
    """
    versions = await ready_versions(services_of(request), details=has_access(request.scope))
    return Readiness(models=versions)


@router.get(
    "/metrics",
    summary="Get the metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus' text format, or OpenMetrics if the client accepts it."}},
)
async def metrics(request: Request) -> Response:
    """Return the metrics of all gateway processes."""
    content, media_type = await services_of(request).scrapes.answer(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
