"""What happens around every call: access, limits, IDs, cancellation, telemetry."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import httpx
import pytest

from gateway.grpc_api.calls import logger as calls_logger
from gateway.pb import health_pb2, open_inference_pb2
from gateway.pb import serving_pb2 as pb
from testing.colour_server import ColourServer
from testing.grpc_calls import (
    HEALTH,
    INFER,
    METADATA,
    PREDICT,
    STATUS,
    method,
    predict_request,
    refusal,
    send,
    trailing,
)
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.grpc_api.conftest import doubler, gauge

Start = Callable[..., tuple[httpx.Client, grpc.Channel]]

LIVE, READY = "/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"


def test_a_call_needs_a_key_where_http_needs_one(start: Start) -> None:
    _, channel = start(api_keys=f"mine:{hashlib.sha256(b'secret').hexdigest()}")
    for path, message in ((PREDICT, doubler()), (METADATA, b""), (STATUS, b""), (INFER, b"")):
        code, details, metadata = refusal(channel, path, message)
        assert (code, details) == ("UNAUTHENTICATED", "An API key is needed, as Authorization: Bearer or X-API-Key.")
        assert metadata["x-error-code"] == "unauthorized"
    assert refusal(channel, PREDICT, doubler(), (("x-api-key", "wrong"),))[1] == "This API key is not known."
    for name, value in (("x-api-key", "secret"), ("authorization", "Bearer secret")):
        send(channel, PREDICT, doubler(), ((name, value),))
    for path in (LIVE, READY, HEALTH):
        send(channel, path, b"")


def test_http_and_grpc_count_against_the_same_limits(start: Start) -> None:
    client, channel = start(rate_limit="2/year")
    assert client.get("/v1/models/doubler").status_code == 200
    send(channel, PREDICT, doubler())
    code, details, metadata = refusal(channel, PREDICT, doubler())
    assert (code, details) == ("RESOURCE_EXHAUSTED", "You have exceeded your limit of requests.")
    assert metadata["x-error-code"] == "rate_limited"
    assert int(metadata["grpc-retry-pushback-ms"]) == 1000 * int(metadata["retry-after"]) > 0
    assert client.get("/v1/models/doubler").status_code == 429


def test_the_rows_of_a_call_count_as_images(start: Start) -> None:
    _, channel = start(image_rate_limit="64/year")
    send(channel, PREDICT, doubler(rows=32))
    send(channel, PREDICT, doubler(rows=32))
    assert refusal(channel, PREDICT, doubler())[1] == "You have exceeded your limit of images."


def test_callers_behind_a_trusted_proxy_are_told_apart(start: Start) -> None:
    _, channel = start(rate_limit="1/year", trusted_proxies="127.0.0.1/32")
    for address in ("192.0.2.1", "192.0.2.2"):
        send(channel, PREDICT, doubler(), (("x-forwarded-for", f"203.0.113.9, {address}"),))
    assert refusal(channel, PREDICT, doubler(), (("x-forwarded-for", "192.0.2.2"),))[0] == "RESOURCE_EXHAUSTED"


def test_the_request_id_reaches_the_model_server_and_comes_back(channel: grpc.Channel, server: ColourServer) -> None:
    _, metadata = send(channel, PREDICT, doubler(), (("x-request-id", "abc-1"),))
    assert metadata["x-request-id"] == "abc-1"
    assert "abc-1" in server.request_ids  # perhaps followed by that of a call that was late
    assert len(send(channel, PREDICT, doubler(), (("x-request-id", "not valid"),))[1]["x-request-id"]) == 32
    _, _, metadata = refusal(channel, PREDICT, predict_request("nope"), (("x-request-id", "abc-2"),))
    assert metadata["x-request-id"] == "abc-2"


def test_the_deadline_of_the_caller_ends_the_work(channel: grpc.Channel, server: ColourServer) -> None:
    send(channel, PREDICT, doubler())  # the model is known from now on
    given_up = server.given_up

    def gives_up() -> bool:
        assert refusal(channel, PREDICT, doubler(), timeout=0.5)[0] == "DEADLINE_EXCEEDED"
        return server.given_up > given_up  # on a busy machine, a call may end before it reaches the model server

    server.stalled.set()
    try:
        until(gives_up)
    finally:
        server.stalled.clear()


def test_a_caller_that_cancels_gives_its_permits_back(
    gateway: tuple[httpx.Client, grpc.Channel], server: ColourServer
) -> None:
    client, channel = gateway
    send(channel, PREDICT, doubler())
    server.stalled.set()
    try:
        call = method(channel, PREDICT).future(doubler().SerializeToString())
        until(lambda: server.waiting > 0 and gauge(client, "gateway_images_in_flight") == 1)
        given_up = server.given_up
        call.cancel()
        until(lambda: server.given_up > given_up)
        until(lambda: gauge(client, "gateway_images_in_flight") == 0)
    finally:
        server.stalled.clear()


def test_a_message_over_the_limit_or_compressed_is_refused(start: Start) -> None:
    _, channel = start(max_tensor_body_bytes=100_000)
    call = method(channel, PREDICT).future(bytes(3_000_000), timeout=DEADLINE_SECONDS)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(call.details())
    small = doubler(30).SerializeToString()
    call = method(channel, PREDICT).future(small, timeout=DEADLINE_SECONDS, compression=grpc.Compression.Gzip)
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED, call.details()
    assert pb.PredictResponse.FromString(method(channel, PREDICT)(small)).outputs


@pytest.mark.parametrize("path", [PREDICT, STATUS, METADATA, INFER, HEALTH])
def test_bytes_that_are_no_message_are_an_invalid_argument(channel: grpc.Channel, path: str) -> None:
    assert refusal(channel, path, b"\xff\xff\xff")[0] == "INVALID_ARGUMENT"


def test_methods_that_are_not_offered_are_unimplemented(channel: grpc.Channel) -> None:
    for path in ("/tensorflow.serving.PredictionService/Classify", "/grpc.health.v1.Health/Watch", "/nope/Nope"):
        assert refusal(channel, path, b"")[0] == "UNIMPLEMENTED"


def test_the_health_service_says_what_readyz_says(start: Start) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    _, ready = start()
    for service in ("", "grpc.health.v1.Health", "inference.GRPCInferenceService"):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2.HealthCheckResponse.FromString(send(ready, HEALTH, request)[0])
        assert answer.status == serving
    assert refusal(ready, HEALTH, health_pb2.HealthCheckRequest(service="x").SerializeToString())[0] == "NOT_FOUND"
    _, missing = start(models="nope")
    assert health_pb2.HealthCheckResponse.FromString(send(missing, HEALTH, b"")[0]).status == not_serving
    assert not open_inference_pb2.ServerReadyResponse.FromString(send(missing, READY, b"")[0]).ready
    assert open_inference_pb2.ServerLiveResponse.FromString(send(missing, LIVE, b"")[0]).live


def test_a_gateway_that_is_full_refuses(start: Start, server: ColourServer) -> None:
    client, channel = start(max_images_in_flight=64)
    send(channel, PREDICT, doubler())
    server.stalled.set()
    try:
        calls = [method(channel, PREDICT).future(doubler(28).SerializeToString()) for _ in range(2)]
        until(lambda: any(call.done() for call in calls))  # one caller may hold 56 of 64, and batches 48
        refused = next(call for call in calls if call.done())
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailing(refused)["grpc-retry-pushback-ms"] == "1000"
    finally:
        server.stalled.clear()
    assert sum(call.exception() is None for call in calls) == 1
    until(lambda: gauge(client, "gateway_images_in_flight") == 0)


@pytest.mark.parametrize(
    ("refusal_", "code", "details"),
    [
        (("INVALID_ARGUMENT", "row 2 is bad\nat /secret/path"), "INVALID_ARGUMENT", "row 2 is bad"),
        (("FAILED_PRECONDITION", "no variable"), "INVALID_ARGUMENT", "no variable"),
        (("INTERNAL", "stack trace"), "INTERNAL", "The model server could not answer this request."),
        (("UNAVAILABLE", "gone"), "UNAVAILABLE", "The model server is not reachable."),
        (("RESOURCE_EXHAUSTED", "threads"), "UNAVAILABLE", "The model server is overloaded."),
    ],
)
def test_what_the_model_server_answers_has_a_code_of_its_own(
    channel: grpc.Channel, server: ColourServer, refusal_: tuple[str, str], code: str, details: str
) -> None:
    send(channel, PREDICT, doubler())  # the model is known from now on
    name, words = refusal_
    server.refusal = (grpc.StatusCode[name], words)
    try:
        error = refusal(channel, PREDICT, doubler())
    finally:
        server.refusal = None
    assert error[:2] == (code, details)
    assert ("grpc-retry-pushback-ms" in error[2]) == (code == "UNAVAILABLE")


def test_no_call_fails_while_versions_change(start: Start, server: ColourServer) -> None:
    _, channel = start()
    original = server.models["doubler"]
    model = next(iter(original.values()))
    over = threading.Event()

    def call(_: int) -> set[str]:
        versions = set()
        while not over.is_set():
            versions.add(send(channel, PREDICT, doubler())[1]["x-model-version"])
        return versions

    def goes_on(calls: int) -> bool:
        return server.calls > calls + 20 or any(one.done() for one in callers)

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call, number) for number in range(4)]
        try:
            for version in range(5, 9):
                server.models["doubler"] = {version: model}
                until(partial(goes_on, server.calls))
        finally:
            over.set()
            versions = set().union(*(one.result() for one in callers))
            server.models["doubler"] = original
    assert "8" in versions


def test_calls_are_counted_and_logged(
    gateway: tuple[httpx.Client, grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    client, channel = gateway

    def texts() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == calls_logger.name]

    # A call is logged after its answer: those of other tests are over when nothing but the scrape is in flight.
    until(lambda: gauge(client, "gateway_requests_in_flight") == 1)
    with caplog.at_level(logging.INFO, logger=calls_logger.name):
        send(channel, PREDICT, doubler())
        refusal(channel, PREDICT, predict_request("nope"))
        send(channel, HEALTH, b"")
        until(lambda: len(texts()) >= 2)
    [answered, refused] = texts()
    assert f"gRPC {PREDICT} OK" in answered
    assert answered.endswith("by doubler/4")
    assert f"gRPC {PREDICT} NOT_FOUND" in refused
    metrics = client.get("/metrics").text
    labels = f'gateway_requests_total{{method="POST",model="doubler",route="{PREDICT}",status="200",version="4"}}'
    assert labels in metrics
    assert f'route="{PREDICT}",status="404"' in metrics
