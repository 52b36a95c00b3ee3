from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from testing.colour_server import ColourServer
from testing.grpc_calls import PREDICT, predict_request, send
from testing.photos import photo
from testing.polling import until
from testing.tensors import number_tensor
from tests.gateway.grpc_api.conftest import grpc_gateway

pytest.importorskip("opentelemetry.sdk", reason="needs the extra `tracing`")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Start = Callable[..., httpx.Client]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Span]]:
    """Spans that reach a collector, which is a real one but for keeping them."""
    collected: list[Span] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            resources = ExportTraceServiceRequest.FromString(body).resource_spans
            # In one step: a test that finds its request looks for the calls to the model server as well.
            collected.extend([span for resource in resources for scope in resource.scope_spans for span in scope.spans])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield collected
    server.shutdown()
    server.server_close()
    thread.join(10)


def attributes(span: Span) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes}


def test_a_request_is_followed_from_the_caller_to_the_model_server(start: Start, spans: list[Span]) -> None:
    gateway = start(tracing=True)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "x-request-id": "follow-me"}
    assert gateway.post("/api/v1/predict_breed", content=photo(), headers=headers).status_code == 200
    until(lambda: any(span.name == "POST /api/v1/predict_breed" for span in spans))
    [server] = [span for span in spans if span.name == "POST /api/v1/predict_breed"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (trace, parent)
    span_attributes = attributes(server)
    assert span_attributes["breed_gateway.request_id"] == "follow-me"
    assert (span_attributes["breed_gateway.model"], span_attributes["breed_gateway.version"]) == ("colours", 1)
    assert span_attributes["http.response.status_code"] == 200
    calls = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT and span.name.endswith("Predict")]
    assert server.span_id in {span.parent_span_id for span in calls}
    assert {span.trace_id.hex() for span in calls} == {trace}


def test_a_grpc_call_is_followed_in_the_same_way(model_server: ColourServer, spans: list[Span]) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with grpc_gateway(model_server, tracing=True) as (_, channel):
        request = predict_request("colours", None, "pixels")
        request.inputs["images"].CopyFrom(number_tensor(np.zeros((1, 8, 8, 3), np.uint8)))
        send(channel, PREDICT, request, (("traceparent", f"00-{trace}-{parent}-01"),))
        until(lambda: any(span.name == f"POST {PREDICT}" for span in spans))
    [server] = [span for span in spans if span.name == f"POST {PREDICT}"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (trace, parent)
    assert attributes(server)["breed_gateway.model"] == "colours"
