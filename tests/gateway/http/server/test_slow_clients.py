"""Clients that send or read too slowly lose their connection."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import httpx
import pytest

from gateway.http.middleware.body_limits import Body
from gateway.http.server.answer_transport import AnswerTransport
from gateway.http.server.protocol import HttpProtocol
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.http.server.raw_http import BIG, BREED, answering, connect, read_all

Start = Callable[..., httpx.Client]


@pytest.mark.parametrize("sent", [b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ", b"GE", b"GET /healthz HTTP/1.1\r\n"])
def test_headers_that_do_not_arrive_are_cut_off_with_408(start: Start, sent: bytes) -> None:
    client = start(header_timeout_seconds=0.3)

    def answer() -> bytes:
        """Empty if the connection was closed because this process was too slow to send anything."""
        with connect(client) as connection:
            try:
                connection.sendall(sent)
                first = connection.recv(1)
            except ConnectionError:
                return b""
            return first + read_all(connection)

    assert next(filter(None, (answer() for _ in range(5))), b"").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("drip", [b"\r\n", b"x"], ids=["empty lines", "a header"])
def test_dripping_bytes_win_no_time(start: Start, drip: bytes) -> None:
    client = start(header_timeout_seconds=0.5)

    def used_once() -> socket.socket | None:
        """A connection over which a request was answered; None if this process was too slow to send it."""
        connection = connect(client)
        with suppress(ConnectionError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            if answer := connection.recv(65536):
                assert answer.startswith(b"HTTP/1.1 200")
                return connection
        connection.close()
        return None

    connection = next(filter(None, (used_once() for _ in range(5))), None)
    assert connection is not None, "the connection was closed each time"
    with connection:
        if drip == b"x":
            connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        connection.settimeout(0.02)

        def is_closed() -> bool:
            try:
                connection.sendall(drip)
                return not connection.recv(65536)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(is_closed)


def test_a_connection_that_says_nothing_is_closed(start: Start) -> None:
    with connect(start(header_timeout_seconds=0.2)) as connection:
        assert read_all(connection) == b""


def test_an_upload_slower_than_the_least_rate_is_408(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.middleware.body_limits.RATE_GRACE_SECONDS", 0.2)
    client = start(min_upload_bytes_per_second=10_000, upload_timeout_seconds=60)
    with connect(client) as connection:
        connection.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        connection.settimeout(0.05)

        def answer_to_more() -> bytes:
            try:
                connection.sendall(b"x" * 50)
                return connection.recv(65536)
            except TimeoutError:
                return b""

        answer = until(answer_to_more)
    assert answer.startswith(b"HTTP/1.1 408")


def test_an_upload_that_arrives_while_the_process_stands_still_is_in_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.middleware.body_limits.RATE_GRACE_SECONDS", 0.1)
    stands_still, has_arrived = threading.Event(), threading.Event()
    due_of = Body.due

    def stand_still(due: float) -> None:
        stands_still.set()
        assert has_arrived.wait(DEADLINE_SECONDS)
        until(partial(has_passed, due + 0.2))

    def noting_due(body: Body) -> float:
        due = due_of(body)
        if not stands_still.is_set():
            asyncio.get_running_loop().call_soon(stand_still, due)
        return due

    monkeypatch.setattr(Body, "due", noting_due)
    content = photo()
    with connect(start()) as connection:
        connection.sendall(
            f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        )
        assert stands_still.wait(DEADLINE_SECONDS)
        connection.sendall(content)
        has_arrived.set()
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_a_caller_that_does_not_read_its_answers_loses_its_connection(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.server.answer_transport.STALLED_ANSWER_SECONDS", 0.2)
    with connect(gateway) as connection:
        connection.sendall(b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        until(lambda: _is_lost(connection))


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: x",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close",
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9",
    ],
    ids=["kept alive", "closed", "closed before the end of the body"],
)
def test_an_answer_of_a_few_bytes_that_nobody_reads_ends_its_connection_too(
    monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    monkeypatch.setattr("gateway.http.server.answer_transport.STALLED_ANSWER_SECONDS", 0.2)
    pending, lost = threading.Event(), threading.Event()
    write = AnswerTransport.write
    connection_made, connection_lost = HttpProtocol.connection_made, HttpProtocol.connection_lost

    def with_a_small_buffer(protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection_made(protocol, transport)

    def noting_what_is_left(answers: AnswerTransport, data: bytes) -> None:
        write(answers, data)
        pending.set()

    def noting_the_end(protocol: HttpProtocol, error: Exception | None) -> None:
        assert not protocol.flow.write_paused, "the answer is too long for this test"
        connection_lost(protocol, error)
        lost.set()

    monkeypatch.setattr(HttpProtocol, "connection_made", with_a_small_buffer)
    monkeypatch.setattr(AnswerTransport, "write", noting_what_is_left)
    monkeypatch.setattr(HttpProtocol, "connection_lost", noting_the_end)
    with answering(b"x" * 60_000) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert pending.wait(DEADLINE_SECONDS)
        assert lost.wait(DEADLINE_SECONDS)


def test_an_answer_that_is_read_slowly_but_steadily_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.server.answer_transport.STALLED_ANSWER_SECONDS", 1.5)
    with answering(b"x" * BIG) as client, connect(client) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received, started = 0, time.monotonic()
        while piece := connection.recv(2**18):
            received += len(piece)
            # Twice as long as a caller may leave an answer lie, at one speed; a late reader catches up.
            until(partial(has_passed, started + 3 * received / BIG))
    assert received > BIG


def has_passed(moment: float) -> bool:
    return time.monotonic() > moment


def _is_lost(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"\r\n")
    except ConnectionError:
        return True
    return False
