"""Callers who send nothing, do not read or send too much are not felt by others, and take little memory."""

from __future__ import annotations

import gc
import importlib
import logging
from collections.abc import Callable
from types import FrameType
from typing import Any

import grpc
import httpx
import pytest

from gateway.grpc_api import receiving
from gateway.workers.turns import Turns
from testing.grpc_calls import HEALTH, PREDICT, refusal, send
from testing.http2 import DEFAULT_WINDOW, Connection, framed
from testing.polling import until
from tests.gateway.grpc_api.conftest import doubler, gauge

Start = Callable[..., tuple[httpx.Client, grpc.Channel]]

OTHER = (("x-forwarded-for", "192.0.2.1"),)
"""Metadata of another caller than the hostile ones."""

PROXY = "127.0.0.1/32"
MESSAGE = 32 * 2**20


def test_silent_health_checks_are_not_felt_by_others(start: Start) -> None:
    client, channel = start(max_uploads=40, trusted_proxies=PROXY)
    with Connection(client.headers["x-grpc-address"]) as hostile:
        for _ in range(60):
            hostile.call(HEALTH)
        assert hostile.read_until(lambda: len(hostile.windows) < 60)  # further ones are refused
        send(channel, HEALTH, b"", OTHER)
        send(channel, PREDICT, doubler(), OTHER)


def test_calls_whose_answer_is_not_read_are_not_felt_by_others(start: Start) -> None:
    client, channel = start(max_uploads=40, trusted_proxies=PROXY)
    send(channel, PREDICT, doubler(), OTHER)
    with Connection(client.headers["x-grpc-address"], window=0) as hostile:
        for _ in range(60):
            hostile.send(hostile.call(PREDICT), framed(doubler().SerializeToString()), end=True)
        assert hostile.read_until(lambda: len(hostile.windows) <= 10)  # one caller may have a quarter
        send(channel, PREDICT, doubler(), OTHER)
        send(channel, HEALTH, b"", OTHER)
        assert gauge(client, "gateway_requests_in_flight") > 1


def test_silent_callers_give_way_to_those_who_wait(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "CONTESTED_SECONDS", 0.2)
    monkeypatch.setattr(receiving, "CHECK_SECONDS", 0.1)
    checks: list[int] = []

    class Checked(Turns):
        """Notes when a message that takes long is checked: only then does anybody ask who waits."""

        @property
        def waiting(self) -> int:
            checks.append(super().waiting)
            return checks[-1]

    monkeypatch.setattr(receiving, "Turns", Checked)
    client, channel = start(max_upload_memory_bytes=8 * MESSAGE, upload_timeout_seconds=3600, trusted_proxies=PROXY)
    with Connection(client.headers["x-grpc-address"]) as hostile:
        for caller in range(4):
            hostile.call(PREDICT, (("x-forwarded-for", f"203.0.113.{caller}"),))
        until(lambda: gauge(client, "gateway_requests_in_flight") >= 5)
        until(lambda: len(checks) >= 3 * 4)
        hostile.catch_up()
        assert len(hostile.windows) == 4  # nobody waits
        send(channel, PREDICT, doubler(), OTHER)
        assert hostile.read_until(lambda: len(hostile.windows) == 3)


def test_calls_that_wait_may_send_no_more_than_a_window(start: Start) -> None:
    largest = 4 * 2**20
    limits = ("max_tensor_body_bytes", "max_upload_bytes", "max_batch_upload_bytes")
    client, _ = start(
        max_upload_memory_bytes=8 * largest, upload_timeout_seconds=3600, **dict.fromkeys(limits, largest)
    )
    with Connection(client.headers["x-grpc-address"]) as hostile:
        first = hostile.call(PREDICT)
        left = framed(bytes(largest - 100))[:-1]  # never complete, so it keeps the slot
        while left:
            sent = hostile.send(first, left)
            left = left[sent:]
            if not sent:
                assert hostile.read_until(lambda: hostile.window > 0 and hostile.windows[first] > 0)
        waiting = [hostile.call(PREDICT) for _ in range(10)]
        until(lambda: gauge(client, "gateway_requests_in_flight") >= 1 + len(waiting))
        hostile.catch_up()
        assert max(hostile.windows[one] for one in waiting) <= DEFAULT_WINDOW


def test_clients_that_go_away_leave_no_traceback(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    client, channel = start(max_uploads=80)
    send(channel, PREDICT, doubler())
    for _ in range(5):
        with Connection(client.headers["x-grpc-address"], window=0) as gone:
            for _ in range(10):
                gone.send(gone.call(PREDICT), framed(doubler().SerializeToString()), end=True)
            gone.call(PREDICT)
            until(lambda: gauge(client, "gateway_requests_in_flight") >= 12)
    until(lambda: gauge(client, "gateway_requests_in_flight") == 1)  # that of the metrics themselves
    assert not [one for one in caplog.records if one.exc_info]


@pytest.mark.usefixtures("gateway")
def test_other_errors_of_grpc_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
    for error in (cygrpc.ExecuteBatchError("gone"), grpc.aio.InternalError("broken")):
        logging.getLogger("grpc._cython.cygrpc").error("failed", exc_info=error)
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == ["broken"]


def test_a_message_that_was_refused_is_not_kept(gateway: tuple[httpx.Client, grpc.Channel]) -> None:
    client, channel = gateway
    gc.collect()
    gc.disable()
    try:
        assert refusal(channel, PREDICT, bytes([0x1A, 0]) * 100_000)[1] == "The message has more than 1000 fields."
        until(lambda: gauge(client, "gateway_requests_in_flight") == 1)  # that of the metrics themselves
        frames = [
            one for one in gc.get_objects() if isinstance(one, FrameType) and "grpc_api" in one.f_code.co_filename
        ]
        of_gateway = [one for one in frames if "tests" not in one.f_code.co_filename]
        assert not [one for one in of_gateway if len(one.f_locals.get("message", b"")) > 100_000]
    finally:
        gc.enable()
