from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from gateway.__main__ import main
from gateway.settings import Settings
from testing import ROOT
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS

Start = Callable[..., httpx.Client]


def imported_by(statement: str) -> set[str]:
    """Names of modules that a process has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_gateway_loads_no_tensorflow_nothing_of_its_neighbours_and_without_tracing_nothing_that_sends_spans() -> None:
    loaded = imported_by("import gateway.__main__ as program; program.create_app(program.Settings())")
    assert "gateway.app" in loaded
    assert not loaded & {"tensorflow", "keras", "tensorflow_serving", "trainer", "modelserver", "matplotlib", "rich"}
    assert not [name for name in loaded if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]


def test_images_needs_pillow_and_numpy_only() -> None:
    loaded = imported_by("import gateway.images.decode, gateway.images.rewrite, gateway.images.overlay")
    assert {"PIL", "numpy"} <= loaded
    assert not loaded & {"fastapi", "starlette", "grpc", "google", "pydantic"}


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_pages_need_no_other_host(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", answer.text)
    assert all(one.startswith(("/", "#", "data:")) for one in loaded)
    for one in loaded:
        if one.startswith("/") and one != "/docs":
            assert gateway.get(one).status_code == 200, one


def test_every_operation_parameter_and_answer_is_described(gateway: httpx.Client) -> None:
    schema = gateway.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            assert operation.get("tags"), where
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{where} {parameter['name']}"
            for status, response in operation["responses"].items():
                assert response.get("description"), f"{where} {status}"


def test_a_wrong_method_is_405_and_says_which_is_right(gateway: httpx.Client) -> None:
    answer = gateway.get("/api/v1/predict_breed")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_balancers_may_probe_with_head(gateway: httpx.Client, path: str) -> None:
    answer = gateway.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("host", ["elsewhere.example", "[::1]:1", "x,y", "", "%2e"])
@pytest.mark.parametrize("path", ["/nowhere", "/healthz/", "/api/v1/models/", "/web"])
def test_the_host_header_decides_nothing(gateway: httpx.Client, host: str, path: str) -> None:
    answer = gateway.get(path, headers={"host": host}, follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_cross_origin_calls_are_off_unless_an_origin_is_allowed(start: Start) -> None:
    headers = {"origin": "https://page.example"}
    assert "access-control-allow-origin" not in start().get("/healthz", headers=headers).headers
    allowed = start(cors_origins="https://page.example")
    assert allowed.get("/healthz", headers=headers).headers["access-control-allow-origin"] == "https://page.example"
    other = allowed.get("/healthz", headers={"origin": "https://other.example"}).headers
    assert "access-control-allow-origin" not in other


TRACING_HEADERS = (
    "authorization, content-type, x-api-key, x-request-id, traceparent, tracestate, baggage, sentry-trace, "
    "x-requested-with, x-b3-traceid, x-datadog-trace-id, request-id"
)


def test_pages_may_send_the_headers_that_tracing_libraries_add(start: Start) -> None:
    headers = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": TRACING_HEADERS,
    }
    answer = start(cors_origins="https://page.example").options("/api/v1/predict_breed", headers=headers)
    assert answer.status_code == 200
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(one in allowed for one in TRACING_HEADERS.split(", "))


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /nowhere HTTP/1.1\r\n", 404),
        (f"GET /{'a' * 9_000} HTTP/1.1\r\n", 414),
        (f"GET / HTTP/1.1\r\nX: {'y' * 40_000}\r\n", 431),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("GET /metrics HTTP/1.1\r\n", 500),
    ],
)
@pytest.mark.parametrize(("allowed", "allow_origin"), [("https://page.example", "https://page.example"), ("*", "*")])
def test_a_page_that_may_call_can_read_every_error(
    start: Start, monkeypatch: pytest.MonkeyPatch, head: str, status: int, allowed: str, allow_origin: str
) -> None:
    monkeypatch.setattr("gateway.observability.metrics.Metrics.exposition", broken)
    client = start(cors_origins=allowed)
    for origin, expected in (
        ("https://page.example", allow_origin),
        ("https://other.example", allow_origin if allow_origin == "*" else None),
    ):
        with socket.create_connection(
            (client.base_url.host, client.base_url.port or 80), timeout=DEADLINE_SECONDS
        ) as connection:
            connection.sendall(f"{head}Host: x\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == status
            assert answer.getheader("access-control-allow-origin") == expected
            if expected is not None:
                assert "Retry-After" in (answer.getheader("access-control-expose-headers") or "")


UPLOAD = "POST /api/v1/predict_breed HTTP/1.1\r\nHost: x\r\nOrigin: https://page.example\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("GET / HTTP/1.1\r\nOrigin: https://page.example\r\n\r\n", 400),
        (UPLOAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (UPLOAD + "X: y", 408),
        (UPLOAD, 408),
        (UPLOAD + "Content-Length: 9\r\n\r\nabc", 408),
        (UPLOAD + "Content-Length: 100000\r\n\r\n", 413),
        (UPLOAD.replace("1.1", "2.0") + "\r\n", 505),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\nOrigin: https://page.example\r\n\r\n", 503),
    ],
    ids=["no host", "chunk", "headers late", "origin last", "body late", "large", "version", "not ready"],
)
def test_a_page_can_read_errors_about_requests_that_are_incomplete_or_not_valid(
    start: Start, sent: str, status: int
) -> None:
    limits = dict.fromkeys(("header_timeout_seconds", "upload_timeout_seconds"), 0.3) if status == 408 else {}
    client = start(cors_origins="https://page.example", serving_target="127.0.0.1:1", max_upload_bytes=10_000, **limits)

    def answer() -> tuple[int, str | None] | None:
        """Status and origin; nothing if the connection was closed because this process was too slow to send."""
        with socket.create_connection(
            (client.base_url.host, client.base_url.port or 80), timeout=DEADLINE_SECONDS
        ) as connection:
            try:
                connection.sendall(sent.encode())
                answer = http.client.HTTPResponse(connection)
                answer.begin()
            except ConnectionError:
                if status != 408:
                    raise
                return None
            return answer.status, answer.getheader("access-control-allow-origin")

    assert next(filter(None, (answer() for _ in range(5))), None) == (status, "https://page.example")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MODELS", "a, b,,dog_breed")
    monkeypatch.setenv("GATEWAY_MAX_TOP_K", "7")
    monkeypatch.setenv("GATEWAY_MODEL_OPTIONS", json.dumps({"a": {"height": 96}}))
    settings = Settings()
    assert settings.served_models == ("dog_breed", "a", "b")
    assert settings.max_top_k == 7
    assert settings.model_options["a"].height == 96


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("MAX_TOP_K", "0"),
        ("MODEL_OPTIONS", "{"),
        ("MODEL_OPTIONS", '{"a": {"label": "x"}}'),
        ("MAX_IMAGES_IN_FLIGHT", "1"),
        ("CORS_ORIGINS", "example.org"),
        ("CORS_ORIGINS", "https://example.org/"),
        ("SERVING_TARGET", "http://localhost:8500"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_status_2(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"GATEWAY_{name}", value)
    assert main([]) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert name in line.upper()
    assert printed.out == ""


def test_an_answer_says_which_process_failed_only_by_its_id(gateway: httpx.Client) -> None:
    answer = gateway.post("/api/v1/predict_breed", content=photo()[:30])
    assert set(answer.json()) == {"type", "title", "status", "detail", "code", "retryable", "request_id"}
