"""Limits on headers, addresses, trailers, chunks, uploads at a time and pipelined requests."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable
from typing import Self

import httpx
import pytest

from gateway.http.server.protocol import HttpProtocol
from testing.photos import photo
from testing.polling import until
from tests.gateway.http.server.raw_http import BREED, answered, connect, read_all

Start = Callable[..., httpx.Client]


def test_headers_without_end_are_431(gateway: httpx.Client) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        try:
            while sent < 4 * 2**20:
                connection.sendall(b"X-A: " + b"y" * 4000 + b"\r\n")
                sent += 4000
        except ConnectionError:
            pass
        assert read_all(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("lines", [b"X-A: %s\r\n" % (b"y" * 100_000), b"a:b\r\n" * 20_000], ids=["one", "many"])
def test_headers_that_come_all_at_once_are_431_too(gateway: httpx.Client, lines: bytes) -> None:
    assert answered(gateway, b"GET /healthz HTTP/1.1\r\n" + lines + b"\r\n").startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "address", [b"/" + b"a" * 9_000, b"/?" + b"a=&" * 3_000, b"/web/" + b"../" * 3_000], ids=["path", "query", "dots"]
)
def test_an_address_of_more_than_8_kib_is_414(gateway: httpx.Client, address: bytes) -> None:
    assert answered(gateway, b"GET " + address + b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 414")
    shorter = answered(gateway, b"GET " + address[:8_000] + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert not shorter.startswith(b"HTTP/1.1 414")


@pytest.mark.parametrize("rest", [b"a:b\r\n", b"y"], ids=["many", "one without end"])
def test_trailers_without_end_are_431(gateway: httpx.Client, rest: bytes) -> None:
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(gateway) as connection:
        connection.sendall(head + b"1\r\nx\r\n0\r\nX-A: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(rest * (40_000 // len(rest)))
        assert read_all(connection).startswith(b"HTTP/1.1 431")


class HeldUploads:
    """Uploads that stop before their end. One that is refused, because another request came first, begins again."""

    def __init__(self, client: httpx.Client, count: int, content: bytes) -> None:
        self._client = client
        self._head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\n".encode()
        self._content = content
        self._connections = [self._begun() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def refused(self) -> httpx.Response | None:
        """The refusal of another upload of 150 KB, once there is no room for it."""
        answered, _, _ = select.select(self._connections, [], [], 0)
        for connection in answered:
            connection.close()
            self._connections[self._connections.index(connection)] = self._begun()
        answer = self._client.post(BREED, content=b"x" * 150_000)
        return answer if answer.status_code == 429 else None

    def _begun(self) -> socket.socket:
        connection = connect(self._client)
        connection.sendall(self._head + self._content)
        return connection


def test_bytes_of_uploads_are_bounded_together_and_given_back(start: Start) -> None:
    limits = dict.fromkeys(("max_upload_bytes", "max_batch_upload_bytes", "max_tensor_body_bytes"), 300_000)
    client = start(**limits, max_upload_memory_bytes=600_000)
    with HeldUploads(client, 2, b"x" * 240_000) as uploads:
        answer = until(uploads.refused)
        assert answer is not None
        assert answer.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
    until(lambda: client.post(BREED, content=photo(size=(400, 300))).status_code == 200)


def test_more_uploads_at_once_than_may_be_are_429_before_their_body(start: Start) -> None:
    client = start(max_uploads=2)
    with HeldUploads(client, 2, b"xxx") as uploads:
        until(uploads.refused)
        assert client.get("/healthz").status_code == 200
    until(lambda: client.post(BREED, content=photo()).status_code == 200)


def test_bodies_that_are_only_announced_hold_no_permit(start: Start) -> None:
    client = start(max_uploads=1)
    with HeldUploads(client, 8, b""):
        assert [client.post(BREED, content=photo()).status_code for _ in range(5)] == [200] * 5


def test_a_body_in_absurdly_small_chunks_is_refused_once(gateway: httpx.Client) -> None:
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(gateway) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(3):
                connection.sendall(b"1\r\nx\r\n" * 10_000)
        received = read_all(connection)
    answer, _, body = received.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1 ") == 1
    assert "small pieces" in json.loads(body)["detail"]


def test_no_read_of_small_chunks_holds_up_the_event_loop(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = []
    on_body = HttpProtocol.on_body

    def counted(protocol: HttpProtocol, body: bytes) -> None:
        pieces.append(len(body))
        on_body(protocol, body)

    monkeypatch.setattr(HttpProtocol, "on_body", counted)
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(gateway) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head.encode() + b"1\r\nx\r\n" * 100_000)
        read_all(connection)
    assert 1024 < len(pieces) < 1100


def test_requests_that_wait_behind_another_are_bounded(gateway: httpx.Client) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert answered(gateway, one * 60 + last).count(b"HTTP/1.1 200") == 61
    with connect(gateway) as connection:
        connection.sendall(one * 1000)
        with contextlib.suppress(ConnectionResetError):
            assert read_all(connection).count(b"HTTP/1.1 200") < 100
