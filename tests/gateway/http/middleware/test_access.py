"""API keys, rate limits, what is open and what is closed, and the headers around it all."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from pydantic import ValidationError

from gateway.settings import Settings
from testing.photos import photo
from tests.gateway.security.keys import hashed

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


@pytest.mark.parametrize("path", ["/v1/models/colours", "/v2/models/colours", "/v2"])
def test_clients_of_other_protocols_are_refused_in_their_own_form(start: Start, path: str) -> None:
    client = start(api_keys=hashed("one"), rate_limit="1/year")
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
