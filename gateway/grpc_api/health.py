"""The gRPC health checking protocol, with the meaning of ``/readyz``. `Watch` is not offered: clients fall back."""

from __future__ import annotations

from collections.abc import Collection

from gateway.errors import NotFound
from gateway.grpc_api.calls import Method
from gateway.grpc_api.fields import parsed
from gateway.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from gateway.services.readiness import is_ready
from gateway.services.services import Call, Services

SERVICE = "grpc.health.v1.Health"


def health_service(names: Collection[str]) -> dict[str, Method]:
    """The methods, by name. The services of this port, with these names, are ready if every model is."""

    async def check(services: Services, _: Call, message: bytes) -> bytes:
        service = parsed(HealthCheckRequest, message).service
        if service and service not in names:
            raise NotFound("There is no such service.")
        ready = await is_ready(services)
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status).SerializeToString()

    return {"Check": Method(check, is_open=True)}
