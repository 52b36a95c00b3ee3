"""How often a caller may call, and who counts as the same caller.

The limits are those of a year: the window of an hour or a day could end between two requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import httpx
import pytest
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
from testing.gateway import running_gateway
from testing.photos import photo
from tests.gateway.security.keys import hashed

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


def test_who_asks_too_often_is_429_and_told_when_to_come_back(start: Start) -> None:
    client = start(rate_limit="3/year", api_keys=f"{hashed('one')},{hashed('two')}")
    for left in (2, 1, 0):
        answer = client.get("/api/v1/models", headers={"x-api-key": "one"})
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"3per31104000s";q=3;w=31104000'
        assert answer.headers["ratelimit"].startswith(f'"3per31104000s";r={left};t=')
    answer = client.post(BREED, content=photo(), headers={"x-api-key": "one"})
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 31_104_000
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
    control = AccessControl(keys, RateLimits(""), RateLimits("100/year", "images"))
    guarded = Access(app, control, dataclasses.replace(control, keys=ApiKeys([])), docs=True, metrics="open")
    with running_gateway(Settings(), Telemetry(guarded, Metrics())) as client:

        def ask(key: str, images: int) -> httpx.Response:
            return client.get(f"/batch?images={images}", headers={"x-api-key": key})

        first = ask("one", 60)
        assert first.status_code == 200
        assert first.headers["ratelimit"].startswith('"100imagesper31104000s";r=40;t=')
        refused = ask("one", 60)
        assert (refused.status_code, refused.json()["detail"]) == (429, "You have exceeded your limit of images.")
        assert int(refused.headers["retry-after"]) > 0
        assert ask("one", 40).status_code == 200
        assert ask("two", 60).status_code == 200


def test_images_are_counted_wherever_they_are_sent(start: Start) -> None:
    client = start(image_rate_limit="4/year", max_batch_images=4)
    batch = [("images", ("a.png", photo())), ("images", ("b.png", photo()))]
    assert client.post(BREED, content=photo()).status_code == 200
    assert client.post(f"{BREED}/batch", files=batch).status_code == 200
    refused = client.post(f"{BREED}/batch", files=batch)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.post(BREED, content=photo()).status_code == 200
    assert client.get("/api/v1/models").status_code == 200


def test_rows_of_tensors_are_counted_like_images(start: Start) -> None:
    client = start(image_rate_limit="4/year", max_batch_images=4)
    body = {"signature_name": "pixels", "inputs": [[[[0, 0, 0]] * 8] * 8] * 3}
    assert client.post("/v1/models/colours:predict", json=body).status_code == 200
    assert client.post("/v1/models/colours:predict", json=body).status_code == 429


def test_a_household_of_ipv6_addresses_is_one_caller() -> None:
    assert caller_of("2001:db8:1:2::3") == caller_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert caller_of("192.0.2.1") == "192.0.2.1"
    assert caller_of("fe80::1%eth0") == "fe80::/64"
    assert caller_of("no address") == "no address"


@pytest.mark.parametrize("address", ["::ffff:192.0.2.1", "::ffff:c000:201", "64:ff9b::192.0.2.1"])
def test_an_ipv4_address_written_as_ipv6_is_the_same_caller(address: str) -> None:
    assert caller_of(address) == "192.0.2.1"
    assert caller_of("::ffff:192.0.2.2") != caller_of(address)
