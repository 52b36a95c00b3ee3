"""How many messages a call has, and callers that do not send them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import httpx

from testing.grpc_calls import (
    HEALTH,
    PREDICT,
    send,
)
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.grpc_api.conftest import doubler, gauge

Start = Callable[..., tuple[httpx.Client, grpc.Channel]]


def stream(channel: grpc.Channel, messages: Iterator[bytes], path: str = PREDICT) -> tuple[str, str]:
    """Code and details of a call that sends any number of messages."""
    sender: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
    call = sender.future(messages, timeout=DEADLINE_SECONDS)
    return call.code().name, str(call.details())


def test_a_call_has_one_message(channel: grpc.Channel) -> None:
    message = doubler().SerializeToString()
    assert stream(channel, iter([])) == ("INVALID_ARGUMENT", "The call has no message.")
    assert stream(channel, iter([message, message])) == ("INVALID_ARGUMENT", "The call has more than one message.")


FOUR_MESSAGES = {"max_upload_memory_bytes": 8 * 33_554_432}
"""Memory of which half is for four messages at a time. One caller may send one of them."""


@contextmanager
def silent_calls(channel: grpc.Channel) -> Iterator[list[Future[tuple[str, str]]]]:
    """Three calls of one caller that sends nothing; it ends them with the block."""
    ended = threading.Event()

    def silent() -> Iterator[bytes]:
        ended.wait(DEADLINE_SECONDS)
        yield b""

    with ThreadPoolExecutor(3) as pool:
        try:
            yield [pool.submit(stream, channel, silent()) for _ in range(3)]
        finally:
            ended.set()


def test_a_caller_that_sends_nothing_delays_no_other(start: Start) -> None:
    client, channel = start(upload_timeout_seconds=600, trusted_proxies="127.0.0.1/32", **FOUR_MESSAGES)
    with silent_calls(channel) as slow:
        until(lambda: gauge(client, "gateway_requests_in_flight") == len(slow) + 1)  # and the one that asks
        send(channel, PREDICT, doubler(), (("x-forwarded-for", "192.0.2.1"),))
        send(channel, HEALTH, b"")
        assert not any(one.done() for one in slow)


def test_a_caller_that_sends_nothing_is_ended(start: Start) -> None:
    _, channel = start(upload_timeout_seconds=1, **FOUR_MESSAGES)
    with silent_calls(channel) as slow:
        refused = {one.result() for one in slow}
    assert {code for code, _ in refused} == {"DEADLINE_EXCEEDED"}
    assert "The message took longer than 1 seconds." in {details for _, details in refused}
