"""Whether the gateway is ready."""

from __future__ import annotations

from gateway.errors import NotReady
from gateway.services.services import Services


async def is_ready(services: Services) -> bool:
    """Whether every configured model is ready, and the gateway is not shutting down."""
    try:
        await ready_versions(services, details=False)
    except NotReady:
        return False
    return True


async def ready_versions(services: Services, *, details: bool) -> dict[str, list[int]]:
    """The available versions of every configured model. Without `details`, the error names no model.

    Raises:
        NotReady: A model is not ready, or the gateway is shutting down.
    """
    if services.shutdown.draining:
        raise NotReady("The gateway is shutting down.")
    models = await services.readiness.check(services.settings.served_models)
    missing = {name: model.reason for name, model in models.items() if model.reason}
    if missing and not details:
        raise NotReady("Not all models are ready.")
    if missing:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise NotReady(f"Not all models are ready. {reasons}", missing=missing)
    return {name: list(model.versions) for name, model in models.items()} if details else {}
