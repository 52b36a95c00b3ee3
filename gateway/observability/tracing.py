"""OpenTelemetry traces: a span for each request, and a child span for each call to the model server.

Requires the extra `tracing`. OpenTelemetry's own variables configure the export and the sampling, such as
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
    """Creates spans and exports them in the background. If the collector is unavailable, spans are lost."""

    def __init__(self) -> None:
        detected = Resource.create()
        has_name = detected.attributes.get("service.name", "unknown_service") != "unknown_service"
        resource = detected if has_name else detected.merge(Resource({"service.name": SERVICE_NAME}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gateway")

    def interceptors(self) -> Sequence[grpc.aio.ClientInterceptor]:
        """Interceptors for the gRPC channel, which create the spans of calls and send their context as metadata."""
        made: Sequence[grpc.aio.ClientInterceptor] = aio_client_interceptors(tracer_provider=self._provider)  # type: ignore[no-untyped-call]
        return made

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Span]:
        """A span for a request. It is a child of the caller's span if there is a ``traceparent`` header."""
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
        """Record the result of the request in its span."""
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
        """Export the remaining spans."""
        self._provider.shutdown()
