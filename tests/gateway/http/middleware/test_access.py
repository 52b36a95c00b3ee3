"""API keys, rate limits, what is open and what is closed, and the headers around it all."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import RateLimited
from gateway.http.dialects import error_response
from gateway.http.middleware.access import Access, count_images
from gateway.http.middleware.telemetry import Telemetry
from gateway.observability.metrics import Metrics
from gateway.security.access_control import AccessControl
from gateway.security.api_keys import ApiKeys
from gateway.security.rate_limits import RateLimits, caller_of
from gateway.settings import Settings
from testing import ROOT
from testing.gateway import running_gateway
from testing.photos import photo

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_without_a_right_key_the_api_is_closed_and_the_rest_is_open(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated in May\n\nsecond:{hashed('two')}\n")
    client = start(api_keys=f"first:{hashed('one')}", api_keys_file=file)
    for path in ("/", "/web/style.css", "/docs", "/openapi.json", "/healthz", "/livez", "/readyz"):
        assert client.get(path).status_code == 200, path
    for headers in ({}, {"x-api-key": "three"}, {"authorization": "Bearer three"}, {"authorization": "Basic one"}):
        for answer in (
            client.post(BREED, content=photo(), headers=headers),
            client.get("/api/v1/models", headers=headers),
            client.get("/nowhere", headers=headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    for headers in ({"x-api-key": "one"}, {"authorization": "bearer one"}, {"authorization": "Bearer two"}):
        assert client.post(BREED, content=photo(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models/colours", "/v2/models/colours", "/v2"])
def test_clients_of_other_protocols_are_refused_in_their_own_form(start: Start, path: str) -> None:
    client = start(api_keys=hashed("one"), rate_limit="1/day")
    for status, header in ((401, "www-authenticate"), (429, "retry-after")):
        answer = client.get(path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert header in answer.headers


def test_keys_are_described_so_that_the_documentation_can_ask_for_one(start: Start) -> None:
    schema = start(api_keys=hashed("one")).get("/openapi.json").json()
    assert {one["type"] for one in schema["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    post = schema["paths"][BREED]["post"]
    assert post["security"] == [{"bearer": []}, {"header": []}]
    assert "401" in post["responses"]
    assert "security" not in schema["paths"]["/healthz"]["get"]
    optional = start().get("/openapi.json").json()
    assert optional["components"]["securitySchemes"] == schema["components"]["securitySchemes"]
    assert optional["paths"]["/api/v1/predict_breed"]["post"]["security"][-1] == {}


def test_no_key_is_ever_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    client = start(api_keys=hashed("very-secret"))
    with caplog.at_level(logging.DEBUG):
        client.get("/api/v1/models", headers={"x-api-key": "very-secret"})
        client.get("/api/v1/models", headers={"authorization": "Bearer wrong-secret"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("gateway", "uvicorn"))]
    assert not any("secret" in line for line in ours)


def test_the_key_that_the_program_makes_is_the_key_of_its_hash() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.security.api_keys"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    key, entry = (line.split()[-1] for line in done.stdout.splitlines())
    assert len(key) >= 43
    assert ApiKeys([f"mine:{entry}"]).owner(key) == "mine"
    assert ApiKeys([entry]).owner(key + "x") is None


@pytest.mark.parametrize(
    "values",
    [
        {"api_keys": "one"},
        {"api_keys": hashed("one").upper()},
        {"api_keys_file": "/nowhere"},
        {"metrics": "key"},
        {"rate_limit": "often"},
        {"image_rate_limit": "often"},
        {"image_rate_limit": "63/minute"},
        {"trusted_proxies": "proxy.example"},
    ],
)
def test_access_settings_that_make_no_sense_are_refused_at_the_start(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


def test_the_description_and_metrics_can_be_switched_off(start: Start) -> None:
    client = start(docs=False, metrics="off")
    for path in ("/docs", "/openapi.json", "/docs/static/swagger-ui.css", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert client.get("/").status_code == 200
    assert client.post(BREED, content=photo()).status_code == 200


def test_who_asks_too_often_is_429_and_told_when_to_come_back(start: Start) -> None:
    client = start(rate_limit="3/day", api_keys=f"{hashed('one')},{hashed('two')}")
    for left in (2, 1, 0):
        answer = client.get("/api/v1/models", headers={"x-api-key": "one"})
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"3per86400s";q=3;w=86400'
        assert answer.headers["ratelimit"].startswith(f'"3per86400s";r={left};t=')
    answer = client.post(BREED, content=photo(), headers={"x-api-key": "one"})
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 86_400
    assert client.get("/api/v1/models", headers={"x-api-key": "two"}).status_code == 200
    assert all(client.get("/healthz").status_code == 200 for _ in range(5))
    assert [client.get("/api/v1/models").status_code for _ in range(4)] == [401, 401, 401, 429]


def test_images_are_counted_by_caller_all_of_a_request_or_none() -> None:
    async def batch(request: Request) -> Response:
        try:
            await count_images(request.scope, int(request.query_params["images"]))
        except RateLimited as error:
            return error_response("", error)
        return Response()

    keys = ApiKeys([f"one:{hashed('one')}", f"two:{hashed('two')}"])
    app = Starlette(routes=[Route("/", batch), Route("/batch", batch)])
    control = AccessControl(keys, RateLimits(""), RateLimits("100/hour", "images"))
    guarded = Access(app, control, dataclasses.replace(control, keys=ApiKeys([])), docs=True, metrics="open")
    with running_gateway(Settings(), Telemetry(guarded, Metrics())) as client:

        def ask(key: str, images: int) -> httpx.Response:
            return client.get(f"/batch?images={images}", headers={"x-api-key": key})

        first = ask("one", 60)
        assert first.status_code == 200
        assert first.headers["ratelimit"].startswith('"100imagesper3600s";r=40;t=')
        refused = ask("one", 60)
        assert (refused.status_code, refused.json()["detail"]) == (429, "You have exceeded your limit of images.")
        assert int(refused.headers["retry-after"]) > 0
        assert ask("one", 40).status_code == 200
        assert ask("two", 60).status_code == 200


def test_a_household_of_ipv6_addresses_is_one_caller() -> None:
    assert caller_of("2001:db8:1:2::3") == caller_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert caller_of("192.0.2.1") == "192.0.2.1"
    assert caller_of("fe80::1%eth0") == "fe80::/64"
    assert caller_of("no address") == "no address"


@pytest.mark.parametrize("address", ["::ffff:192.0.2.1", "::ffff:c000:201", "64:ff9b::192.0.2.1"])
def test_an_ipv4_address_written_as_ipv6_is_the_same_caller(address: str) -> None:
    assert caller_of(address) == "192.0.2.1"
    assert caller_of("::ffff:192.0.2.2") != caller_of(address)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", BREED),
        ("POST", "/api/v1/models/colours/explain"),
        ("POST", "/v1/models/colours:predict"),
        ("GET", "/v1/models/colours"),
        ("GET", "/v2/models/colours"),
        ("GET", "/api/v1/nowhere"),
    ],
)
def test_no_answer_of_the_api_may_be_kept_by_a_cache(gateway: httpx.Client, method: str, path: str) -> None:
    answer = gateway.request(method, path, content=photo() if method == "POST" else None)
    assert answer.headers.get_list("cache-control") == ["no-store"]


def test_models_and_versions_are_told_by_readyz_only_with_a_key_where_keys_are_set(start: Start) -> None:
    key = {"x-api-key": "one"}
    ready = start(api_keys=hashed("one"))
    assert ready.get("/readyz").json() == {"status": "ready", "models": {}}
    assert ready.get("/readyz", headers={"x-api-key": "wrong"}).json()["models"] == {}
    assert ready.get("/readyz", headers=key).json()["models"] == {"colours": [1]}
    waiting = start(api_keys=hashed("one"), models="secret_name")
    answer = waiting.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "secret_name" not in answer.text
    assert list(waiting.get("/readyz", headers=key).json()["missing"]) == ["secret_name"]


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/models", "/healthz", "/nowhere", "/web/app.js"])
def test_every_answer_carries_the_security_headers(gateway: httpx.Client, path: str) -> None:
    headers = gateway.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_pages_hold_nothing_that_the_policy_forbids(gateway: httpx.Client) -> None:
    for path in ("/", "/docs"):
        text = gateway.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\son\w+=|\sstyle=", text), path


def test_a_page_of_another_origin_may_send_a_key_where_it_is_allowed(start: Start) -> None:
    client = start(api_keys=hashed("one"), cors_origins="https://page.example")
    preflight = client.options(
        BREED,
        headers={
            "origin": "https://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key",
        },
    )
    assert preflight.status_code == 200
    refused = client.post(BREED, content=photo(), headers={"origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"


def test_images_are_counted_wherever_they_are_sent(start: Start) -> None:
    client = start(image_rate_limit="4/day", max_batch_images=4)
    batch = [("images", ("a.png", photo())), ("images", ("b.png", photo()))]
    assert client.post(BREED, content=photo()).status_code == 200
    assert client.post(f"{BREED}/batch", files=batch).status_code == 200
    refused = client.post(f"{BREED}/batch", files=batch)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.post(BREED, content=photo()).status_code == 200
    assert client.get("/api/v1/models").status_code == 200


def test_rows_of_tensors_are_counted_like_images(start: Start) -> None:
    client = start(image_rate_limit="4/day", max_batch_images=4)
    body = {"signature_name": "pixels", "inputs": [[[[0, 0, 0]] * 8] * 8] * 3}
    assert client.post("/v1/models/colours:predict", json=body).status_code == 200
    assert client.post("/v1/models/colours:predict", json=body).status_code == 429
