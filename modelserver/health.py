"""The health service of gRPC (`grpc.health.v1.Health`), as TensorFlow Serving registers it."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICES = ("PredictionService", "ModelService")
"""The service names that TensorFlow Serving reports, without a package; the empty name stands for the whole server."""


def add_health_service(server: grpc.Server) -> health.HealthServicer:
    """Registers the health service, with every name as SERVING.

    The status says nothing about a single model. The port opens once every configured model has loaded or failed once,
    and at least one serves; GetModelStatus tells the state of each one.

    Args:
        server: A server that has not been started.

    Returns:
        The service. `enter_graceful_shutdown` sets every name to NOT_SERVING.
    """
    service = health.HealthServicer()
    for name in SERVICES:
        service.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    return service
