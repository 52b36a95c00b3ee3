"""The framing of HTTP/1.1: what RFC 9112 allows is answered, and what it says to refuse is refused."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable

import httpx
import pytest

from testing.photos import photo
from tests.gateway.http.server.raw_http import BREED, answered, connect, read_all

Start = Callable[..., httpx.Client]


def test_a_trailer_is_no_header(start: Start) -> None:
    client = start(api_keys=hashlib.sha256(b"key").hexdigest())
    body = photo()
    framed = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n".encode()
    key = b"X-API-Key: key\r\n"
    assert answered(client, head + key + b"\r\n" + framed + b"\r\n").startswith(b"HTTP/1.1 200")
    assert answered(client, head + b"\r\n" + framed + key + b"\r\n").startswith(b"HTTP/1.1 401")


def test_what_is_no_http_gets_the_one_error_body(gateway: httpx.Client) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("wish", ["h2c", "websocket"])
def test_a_wish_for_another_protocol_is_passed_over_and_the_request_answered(
    gateway: httpx.Client, wish: str, framing: str
) -> None:
    body = photo("blue")
    length = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
    framed = body if framing == "length" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, X\r\nUpgrade: {wish}\r\n{length}\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = answered(gateway, head.encode() + framed + last)
    assert received.count(b"HTTP/1.1 200") == 2
    assert b'"breed":"blue"' in received


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Content-Length: +5\r\n\r\nabcde",
        "Content-Length : 5\r\n\r\nabcde",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "X: a\r\n b\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_as_different_requests_is_refused(gateway: httpx.Client, head: str) -> None:
    received = answered(gateway, f"POST {BREED} HTTP/1.1\r\nHost: x\r\n{head}GET /healthz HTTP/1.1\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 400")
    assert b"HTTP/1.1 200" not in received


@pytest.mark.parametrize(
    ("request_line_and_headers", "status"),
    [
        ("GET /healthz HTTP/1.1\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x y\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x/y\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: [::1\r\n", 400),
        ("GET /healthz\r\n", 505),
        ("GET /healthz HTTP/0.9\r\n", 505),
        ("GET /healthz HTTP/2.0\r\nHost: x\r\n", 505),
        ("PRI * HTTP/2.0\r\n", 400),
        ("GET /healthz HTTP/1.2\r\nHost: x\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n", 400),
        ("POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
    ],
)
def test_what_rfc_9112_says_to_refuse_is_refused_and_ends_the_connection(
    gateway: httpx.Client, request_line_and_headers: str, status: int
) -> None:
    received = answered(gateway, f"{request_line_and_headers}\r\n0\r\n\r\n".encode())
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert b"connection: close" in head.lower()
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        "GET /healthz HTTP/1.0\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n",
        "GET /healthz HTTP/1.1\r\nHost: my_service:8000\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:8000\r\n",
        "GET /healthz HTTP/1.1\r\nHost: xn--bcher-kva.example.\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n",
    ],
)
def test_what_rfc_9112_allows_is_answered(gateway: httpx.Client, request_line_and_headers: str) -> None:
    received = answered(gateway, f"{request_line_and_headers}Connection: close\r\n\r\n0\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 200")


def chunked(body: bytes, size: int) -> bytes:
    framed = b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[at : at + size] for at in range(0, len(body), size))
    )
    return framed + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_a_body_in_chunks_of_a_size_that_clients_use_is_answered(gateway: httpx.Client, size: int) -> None:
    body = photo("blue", size=(40, 30) if size == 1 else (600, 400), encoding="PNG" if size == 1 else "BMP")
    assert len(body) < 1024 if size == 1 else len(body) > 2**19
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'"breed":"blue"' in answered(gateway, head.encode() + chunked(body, size))


def test_a_body_in_small_pieces_is_answered_when_it_is_complete(gateway: httpx.Client) -> None:
    body = photo("green")
    with connect(gateway) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for start in range(0, len(body), 10):
            connection.sendall(body[start : start + 10])
        assert b'"breed":"green"' in read_all(connection)


@pytest.mark.parametrize("target", ["http://example.com", "HTTP://example.com?a=b", "http://example.com:1/healthz"])
def test_a_request_for_a_whole_address_is_answered(gateway: httpx.Client, target: str) -> None:
    received = answered(gateway, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/v1/models/colours:predict", "/v2/models/colours/infer"])
def test_a_broken_body_is_refused_in_the_words_of_its_interface(gateway: httpx.Client, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, _, body = answered(gateway, head.encode() + b"zz\r\n").partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/json" in answer
    assert json.loads(body).keys() == {"error"}
