"""The gRPC server: its port, the limits of connections, start and stop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from gateway.grpc_api import open_inference, tensorflow_serving
from gateway.grpc_api.calls import Calls
from gateway.grpc_api.health import SERVICE as HEALTH
from gateway.grpc_api.health import health_service
from gateway.security.access_control import AccessControl
from gateway.services.services import Services
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.observability.tracing import Tracing

logger = logging.getLogger(__name__)

MAX_STREAMS = 100
"""Concurrent calls on one connection; further ones wait in the client."""

MAX_METADATA_BYTES = 16 * 2**10
"""Size of metadata above which gRPC may refuse a call; above twice this size, it always does."""

CONNECTION_AGE_SECONDS = 120.0
"""Age at which a client is told to open a new connection. So connections spread over new replicas, and calls end whose
client does not read the answer; gRPC has no other way to end such calls."""

STALLED_ANSWER_SECONDS = 30.0
"""Time for a client to read its answer when its connection has reached that age."""

PING_SECONDS = 60.0
"""Time without traffic after which a connection is checked."""

MIN_PING_SECONDS = 10.0
"""Shortest time between pings of a client; one that pings more often is told to stop."""


def _is_no_failed_send(record: logging.LogRecord) -> bool:
    """Whether what gRPC logs is more than that it could not send an answer because the client has gone.

    The type of that error, a kind of `grpc.aio.InternalError`, is not public.
    """
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "ExecuteBatchError"


class GrpcServer:
    """Serves the gRPC interfaces in this process. Keys and rate limits are the same as for HTTP."""

    def __init__(self, services: Services, control: AccessControl, tracing: Tracing | None) -> None:
        settings = self._settings = services.settings
        self.port = 0
        """The port, once the server has started."""
        self._stopping: asyncio.Task[None] | None = None
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_failed_send)
        self._server = grpc.aio.server(options=_options(settings))
        calls = Calls(services, control, tracing)
        methods = {**tensorflow_serving.SERVICES, **open_inference.SERVICES}
        methods[HEALTH] = health_service([*methods, HEALTH])
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service, {name: calls.handler(f"/{service}/{name}", one) for name, one in of_service.items()}
                )
                for service, of_service in methods.items()
            ]
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: The port cannot be used.
        """
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        self.port = self._server.add_insecure_port(f"{host}:{self._settings.grpc_port}")
        await self._server.start()
        logger.info("listening for gRPC on %s:%d", host, self.port)

    def begin_stop(self) -> None:
        """Refuse new calls; those in progress may finish within `Settings.shutdown_timeout_seconds`."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._server.stop(self._settings.shutdown_timeout_seconds))

    async def close(self) -> None:
        """Stop, and wait until all calls have ended."""
        self.begin_stop()
        assert self._stopping is not None
        await self._stopping


def _options(settings: Settings) -> list[tuple[str, int]]:
    grace = settings.upload_timeout_seconds + settings.request_timeout_seconds + STALLED_ANSWER_SECONDS
    return [
        ("grpc.so_reuseport", int(settings.workers > 1)),  # every gateway process listens on the port
        ("grpc.max_receive_message_length", settings.max_tensor_body_bytes),
        # Only uncompressed messages: gRPC would expand 32 KB to 32 MB before the gateway sees them.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.http2.bdp_probe", 0),  # else a fast client may send megabytes to each call before anyone asks for them
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_seconds * 1000)),
        ("grpc.max_connection_age_ms", round(CONNECTION_AGE_SECONDS * 1000)),
        ("grpc.max_connection_age_grace_ms", round(grace * 1000)),
        ("grpc.keepalive_time_ms", round(PING_SECONDS * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(MIN_PING_SECONDS * 1000)),
    ]
