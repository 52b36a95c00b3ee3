"""When the gateway is ready, and what it says about models that are not."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from testing.colour_server import ColourModel, ColourServer
from testing.polling import until
from tests.gateway.security.keys import hashed

Start = Callable[..., httpx.Client]


def test_readiness_needs_every_configured_model_and_names_what_is_missing(
    start: Start, model_server: ColourServer
) -> None:
    gateway = start(models="second")
    answer = gateway.get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["missing"]) == ["second"]
    assert "retry-after" in answer.headers
    model_server.models["second"] = {3: ColourModel()}
    until(lambda: gateway.get("/readyz").status_code == 200)
    ready = gateway.get("/readyz")
    assert ready.json()["models"] == {"colours": [1], "second": [3]}


def test_readiness_costs_three_calls_a_model_and_second_however_often_it_is_asked(
    start: Start, model_server: ColourServer
) -> None:
    gateway = start()
    assert gateway.get("/healthz").status_code == 200
    before, started = model_server.calls, time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.get("/readyz").status_code, range(200)))
    assert set(answers) == {200}
    # The state, the signatures and the card; and one image in all.
    assert 1 <= model_server.calls - before <= 1 + 3 * (1 + time.monotonic() - started)


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
