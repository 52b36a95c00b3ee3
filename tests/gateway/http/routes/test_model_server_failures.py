"""Predictions while the model server is down, silent, refuses or switches versions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from gateway.inference import readiness
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until

Start = Callable[..., httpx.Client]


def test_a_version_switch_under_load_fails_no_request_and_mixes_no_labels(
    start: Start, model_server: ColourServer
) -> None:
    gateway = start()
    colours = ["red", "green", "blue"]
    orders = [("red", "green", "blue"), ("blue", "red", "green"), ("green", "blue", "red")]
    answered = itertools.count(1)

    def ask(index: int) -> tuple[str, object, int]:
        colour = colours[index % 3]
        answer = gateway.post("/api/v1/predict_breed", content=photo(colour))
        # By answers and not by time: a switch every few milliseconds would outrun a gateway on a busy machine.
        switches, rest = divmod(next(answered), 20)
        if rest == 0:
            size = 8 + 4 * (switches % 2)
            model_server.models["colours"] = {1 + switches: ColourModel(orders[switches % 3], size, size)}
        return colour, answer.json().get("breed"), answer.status_code

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))
    assert {status for *_, status in answers} == {200}
    assert all(requested == served for requested, served, _ in answers)


def test_a_server_that_is_down_is_503_with_retry_after_and_comes_back_by_itself(start: Start, address: str) -> None:
    other = ColourServer(models={"colours": {1: ColourModel()}})
    with other.serving(address):
        gateway = start(serving_target=address)
        assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200
    down = gateway.post("/api/v1/predict_breed", content=photo())
    assert (down.status_code, down.json()["code"]) == (503, "model_server_unavailable")
    assert int(down.headers["retry-after"]) > 0
    assert gateway.get("/readyz").status_code == 503
    assert gateway.get("/healthz").status_code == 200
    with other.serving(address):

        def answer() -> httpx.Response | None:
            answer = gateway.post("/api/v1/predict_breed", content=photo())
            assert answer.status_code in (200, 503)
            return answer if answer.status_code == 200 else None

        assert until(answer).json()["breed"] == "red"  # type: ignore[union-attr]


def test_a_server_that_never_answers_is_504_at_the_deadline(gateway: httpx.Client, model_server: ColourServer) -> None:
    assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200
    model_server.stalled.set()
    answer = gateway.post("/api/v1/predict_breed", content=photo(), headers={"x-request-timeout": "0.3"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    model_server.stalled.clear()
    assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/v2/models/colours/ready"])
def test_a_server_that_never_answers_makes_the_gateway_not_ready_within_the_time_of_a_probe(
    gateway: httpx.Client, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(readiness, "PROBE_SECONDS", 0.2)
    model_server.stalled.set()
    assert gateway.get(path, timeout=DEADLINE_SECONDS / 2).status_code == 503
    assert model_server.calls


@pytest.mark.parametrize(
    ("code", "status", "stable"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503, "model_server_unavailable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "model_server_unavailable"),
        (grpc.StatusCode.INVALID_ARGUMENT, 502, "model_server_failed"),
        (grpc.StatusCode.FAILED_PRECONDITION, 502, "model_server_failed"),
        (grpc.StatusCode.INTERNAL, 502, "model_server_failed"),
        (grpc.StatusCode.UNIMPLEMENTED, 502, "model_server_failed"),
    ],
)
def test_what_the_model_server_says_never_reaches_the_caller(
    gateway: httpx.Client, model_server: ColourServer, code: grpc.StatusCode, status: int, stable: str
) -> None:
    model_server.refusal = (code, "secret /var/models: assertion failed at line 3")
    answer = gateway.post("/api/v1/predict_breed", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (status, stable)
    assert "secret" not in answer.text


def test_a_request_larger_than_grpc_keeps_by_default_is_tried_again_too(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(height=400, width=400)}
    gateway = start(model_refresh_seconds=60)
    assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200
    model_server.busy = 2
    answer = gateway.post("/api/v1/predict_breed", content=photo("blue"))
    assert (answer.status_code, answer.json()["breed"]) == (200, "blue")
