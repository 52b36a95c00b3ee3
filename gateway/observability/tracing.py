"""OpenTelemetry traces: a span for each request, and under it one for each call to the model server.

Needs the extra `tracing`. Where spans go, and how many, is said by OpenTelemetry's own variables, such as
``OTEL_EXPORTER_OTLP_ENDPOINT`` (http://localhost:4318 by default), ``OTEL_SERVICE_NAME`` and ``OTEL_TRACES_SAMPLER``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc.aio
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.types import Scope

from gateway.observability.request_id import request_id
from gateway.observability.request_record import RequestRecord

SERVICE_NAME = "breed-gateway"


class Tracing:
    """Makes spans and sends them in the background; a collector that is away costs spans, never requests."""

    def __init__(self) -> None:
        detected = Resource.create()
        named = detected.attributes.get("service.name", "unknown_service") != "unknown_service"
        resource = detected if named else detected.merge(Resource({"service.name": SERVICE_NAME}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gateway")

    def interceptors(self) -> Sequence[grpc.aio.ClientInterceptor]:
        """For the gRPC channel: they make the spans of calls, and send their context along as metadata."""
        made: Sequence[grpc.aio.ClientInterceptor] = aio_client_interceptors(tracer_provider=self._provider)  # type: ignore[no-untyped-call]
        return made

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Span]:
        """A span around a request, under the caller's own where it sent a ``traceparent``."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "breed_gateway.request_id": request_id.get(),
        }
        context = propagate.extract(carrier)
        with self._tracer.start_as_current_span(scope["method"], context, SpanKind.SERVER, attributes) as span:
            yield span

    def finish(self, span: Span, method: str, status: int, record: RequestRecord) -> None:
        """Say in the span how the request ended."""
        span.update_name(f"{method} {record.route}")
        span.set_attribute("http.route", record.route)
        span.set_attribute("http.response.status_code", status)
        if record.version is not None:
            span.set_attribute("breed_gateway.model", record.model)
            span.set_attribute("breed_gateway.version", record.version)
        for stage, seconds in record.seconds.items():
            span.set_attribute(f"breed_gateway.{stage}_seconds", seconds)
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
