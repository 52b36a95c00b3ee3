from __future__ import annotations

import socket
import time
from collections.abc import Callable

import httpx
import pytest

from testing.colour_server import ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


@pytest.mark.parametrize(
    ("headers", "query", "seconds"),
    [
        ({"x-request-timeout": "200.5"}, "", 200.5),
        ({}, "?timeout_seconds=300", 300),
        ({"x-request-timeout": "200"}, "?timeout_seconds=300", 200),
        ({"x-request-timeout": "3600"}, "", 400),
        ({}, "", 400),
    ],
)
def test_a_caller_may_ask_for_less_time_and_the_model_server_is_told(
    start: Start, model_server: ColourServer, headers: dict[str, str], query: str, seconds: float
) -> None:
    gateway = start(request_timeout_seconds=400)
    assert gateway.post(f"{BREED}{query}", content=photo(), headers=headers).status_code == 200
    assert seconds - 99 < model_server.time_left[-1] <= seconds + 1  # gRPC rounds up


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "soon", "1e999", ""])
def test_a_time_that_is_none_is_422(gateway: httpx.Client, wrong: str) -> None:
    for answer in (
        gateway.post(BREED, content=photo(), headers={"x-request-timeout": wrong}),
        gateway.post(BREED, content=photo(), params={"timeout_seconds": wrong}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


def test_a_stalled_model_server_is_504_when_the_callers_time_is_over(start: Start, model_server: ColourServer) -> None:
    gateway = start(request_timeout_seconds=400)
    assert gateway.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    started = time.monotonic()
    answer = gateway.post(BREED, content=photo(), headers={"x-request-timeout": "0.2"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - started < 200


def test_a_caller_that_hangs_up_cancels_its_work_and_gives_its_permit_back(
    start: Start, model_server: ColourServer
) -> None:
    client = start(
        max_cross_request_batch_size=1,
        max_images_in_flight=3,
        max_batch_images=3,
        model_refresh_seconds=60,
    )
    assert client.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    address = (client.base_url.host, client.base_url.port or 80)
    body = photo()
    head = (
        f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    callers = [socket.create_connection(address, timeout=DEADLINE_SECONDS) for _ in range(3)]
    for caller in callers:
        caller.sendall(head + body)
    until(lambda: model_server.waiting == 3, "three requests wait at the model server")
    assert client.post(BREED, content=body).status_code == 429
    for caller in callers:
        caller.close()
    until(lambda: model_server.given_up == 3, "the calls to the model server are cancelled")
    model_server.stalled.clear()
    assert client.post(BREED, content=body).status_code == 200
