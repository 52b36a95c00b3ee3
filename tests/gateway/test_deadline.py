from __future__ import annotations

import socket
import time
from collections.abc import Callable

import httpx
import pytest

from testing.colour_server import ColourServer
from testing.photos import photo

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


def eventually(holds: Callable[[], bool], what: str, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("headers", "query", "seconds"),
    [
        ({"x-request-timeout": "2.5"}, "", 2.5),
        ({}, "?timeout_seconds=1.5", 1.5),
        ({"x-request-timeout": "1"}, "?timeout_seconds=3", 1),
        ({"x-request-timeout": "3600"}, "", 10),
        ({}, "", 10),
    ],
)
def test_a_caller_may_ask_for_less_time_and_the_model_server_is_told(
    gateway: httpx.Client, model_server: ColourServer, headers: dict[str, str], query: str, seconds: float
) -> None:
    assert gateway.post(f"{BREED}{query}", content=photo(), headers=headers).status_code == 200
    assert seconds - 1 < model_server.time_left[-1] <= seconds


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "soon", "1e999", ""])
def test_a_time_that_is_none_is_422(gateway: httpx.Client, wrong: str) -> None:
    for answer in (
        gateway.post(BREED, content=photo(), headers={"x-request-timeout": wrong}),
        gateway.post(BREED, content=photo(), params={"timeout_seconds": wrong}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


def test_a_stalled_model_server_is_504_when_the_callers_time_is_over(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    assert gateway.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    started = time.monotonic()
    answer = gateway.post(BREED, content=photo(), headers={"x-request-timeout": "0.2"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - started < 2


def test_a_caller_that_hangs_up_cancels_its_work_and_gives_its_permit_back(
    start: Start, model_server: ColourServer
) -> None:
    client = start(
        max_cross_request_batch_size=1,
        max_images_in_flight=3,
        max_batch_images=3,
        request_timeout_seconds=60,
        model_refresh_seconds=60,
    )
    assert client.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    address = (client.base_url.host, client.base_url.port or 80)
    body = photo()
    head = (
        f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    callers = [socket.create_connection(address, timeout=10) for _ in range(3)]
    for caller in callers:
        caller.sendall(head + body)
    eventually(lambda: model_server.waiting == 3, "the requests did not reach the model server")
    assert client.post(BREED, content=body).status_code == 429
    for caller in callers:
        caller.close()
    eventually(lambda: model_server.given_up == 3, "the calls to the model server were not cancelled")
    model_server.stalled.clear()
    assert client.post(BREED, content=body).status_code == 200
