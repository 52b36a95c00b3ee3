"""What a connection may do: slow headers, early answers, bodies that nobody wants, answers that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import http.client
import importlib.metadata
import inspect
import json
import logging
import os
import re
import socket
import struct
import subprocess
import threading
import time
import tomllib
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http import flow_control, httptools_impl

from gateway.http.server.protocol import HttpProtocol
from gateway.settings import Settings
from testing import ROOT
from testing.colour_server import ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"
BIG = 40 * 2**20

UVICORN_DIGEST = "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455"
"""SHA-256 of the source of the two modules of uvicorn that `gateway.http.server.protocol` builds on."""


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=DEADLINE_SECONDS)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def pieces(total: int = BIG) -> Iterator[bytes]:
    for _ in range(total // 2**16):
        yield b"x" * 2**16


def with_httpx(url: str, chunked: bool) -> tuple[int, str]:
    answer = httpx.post(url, content=pieces() if chunked else b"x" * BIG, headers={"content-type": "image/png"})
    return answer.status_code, answer.json()["code"]


def with_requests(url: str, chunked: bool) -> tuple[int, str]:
    headers = {"content-type": "image/png"}
    answer = requests.post(url, data=pieces() if chunked else b"x" * BIG, headers=headers, timeout=DEADLINE_SECONDS)
    return answer.status_code, answer.json()["code"]


def with_http_client(url: str, chunked: bool) -> tuple[int, str]:
    host = url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=DEADLINE_SECONDS)
    connection.request("POST", BREED, pieces() if chunked else b"x" * BIG, {"content-type": "image/png"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body["code"]


def with_curl(url: str, chunked: bool, folder: Path, *more: str) -> tuple[int, str]:
    file = folder / "big"
    file.write_bytes(b"x" * BIG)
    transfer = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    command = ["curl", "-s", "-w", "\n%{http_code}", "-F", f"image=@{file}", *transfer, *more, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS)
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)["code"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("client", ["httpx", "requests", "http.client", "curl", "curl without expect"])
def test_every_client_can_read_the_413_of_an_upload_it_has_not_sent_yet(
    start: Start, tmp_path: Path, client: str, chunked: bool
) -> None:
    url = f"{start(max_upload_bytes=10_000).base_url}{BREED}".replace("//api", "/api")
    if client.startswith("curl"):
        more = ["-H", "Expect:"] if client != "curl" else []
        answer = with_curl(url, chunked, tmp_path, *more)
    else:
        answer = {"httpx": with_httpx, "requests": with_requests, "http.client": with_http_client}[client](url, chunked)
    assert answer == (413, "upload_too_large")


def test_every_client_can_read_the_429_of_an_upload_it_has_not_sent_yet(
    start: Start, model_server: ColourServer
) -> None:
    client = start(max_images_in_flight=1, max_batch_images=1, max_upload_bytes=2 * BIG, model_refresh_seconds=60)
    assert client.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    with connect(client) as busy:
        body = photo()
        busy.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: model_server.waiting)
        url = str(client.base_url).rstrip("/") + BREED
        for post in (with_httpx, with_requests, with_http_client):
            assert post(url, False) == (429, "overloaded")
        assert client.get("/healthz").status_code == 200


def test_a_short_body_that_was_refused_early_leaves_the_connection_usable(start: Start) -> None:
    client = start(max_upload_bytes=10_000)
    for _ in range(3):
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=DEADLINE_SECONDS)
        for body, status in ((b"x" * 300_000, 413), (photo(), 200), (b"x" * 300_000, 413), (photo(), 200)):
            connection.request("POST", BREED, body, {"content-type": "image/png"})
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.will_close) == (status, False)
        connection.close()


def test_a_connection_is_kept_after_an_early_answer_as_after_any_other(start: Start) -> None:
    with connect(start(header_timeout_seconds=0.3)) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        connection.sendall(b"x" * 99_000)
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(65536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_answer_in_place_of_100_continue_ends_the_connection(start: Start) -> None:
    with connect(start(max_upload_bytes=100)) as connection:
        connection.sendall(
            f"POST {BREED} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n".encode()
        )
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("sent", [b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ", b"GE", b"GET /healthz HTTP/1.1\r\n"])
def test_headers_that_do_not_arrive_are_cut_off_with_408(start: Start, sent: bytes) -> None:
    with connect(start(header_timeout_seconds=0.3)) as connection:
        connection.sendall(sent)
        assert read_all(connection).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("drip", [b"\r\n", b"x"], ids=["empty lines", "a header"])
def test_dripping_bytes_win_no_time(start: Start, drip: bytes) -> None:
    with connect(start(header_timeout_seconds=0.5)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
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


@pytest.mark.parametrize(("count", "status"), [(99, b"200"), (100, b"431")])
def test_more_than_100_headers_are_431(gateway: httpx.Client, count: int, status: bytes) -> None:
    head = b"GET /healthz HTTP/1.0\r\nHost: x\r\n" + b"a:b\r\n" * count + b"\r\n"
    assert answered(gateway, head)[9:12] == status


def test_no_origin_holds_up_the_event_loop(start: Start) -> None:
    client = start(cors_origins="https://example.com")
    started = time.monotonic()
    refused = answered(client, b"GET / HTTP/2.0\r\nHost: x\r\nOrigin:" + b" " * 2000 + b"x\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 505")
    assert answered(client, b"NO HTTP\r\nOrigin:" + b" " * 2000 + b"x").startswith(b"HTTP/1.1 400")
    assert time.monotonic() - started < 5
    allowed = answered(client, b"NO HTTP\r\nOrigin: \t https://example.com \r\n\r\n").lower()
    assert b"access-control-allow-origin: https://example.com\r\n" in allowed


@pytest.mark.parametrize("rest", [b"a:b\r\n", b"y"], ids=["many", "one without end"])
def test_trailers_without_end_are_431(gateway: httpx.Client, rest: bytes) -> None:
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(gateway) as connection:
        connection.sendall(head + b"1\r\nx\r\n0\r\nX-A: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(rest * (40_000 // len(rest)))
        assert read_all(connection).startswith(b"HTTP/1.1 431")


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


def test_bytes_of_uploads_are_bounded_together_and_given_back(start: Start) -> None:
    limits = dict.fromkeys(("max_upload_bytes", "max_batch_upload_bytes", "max_tensor_body_bytes"), 300_000)
    client = start(**limits, max_upload_memory_bytes=600_000)
    held = []
    for _ in range(2):
        connection = connect(client)
        connection.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\n".encode())
        connection.sendall(b"x" * 240_000)
        held.append(connection)

    def refused() -> httpx.Response | None:
        answer = client.post(BREED, content=b"x" * 150_000)
        return answer if answer.status_code == 429 else None

    answer = until(refused)
    assert answer is not None
    assert answer.headers["retry-after"] == "1"
    assert client.get("/healthz").status_code == 200
    for connection in held:
        connection.close()
    until(lambda: client.post(BREED, content=photo(size=(400, 300))).status_code == 200)


def test_more_uploads_at_once_than_may_be_are_429_before_their_body(start: Start) -> None:
    client = start(max_uploads=2)
    held = []
    for _ in range(2):
        connection = connect(client)
        connection.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\nxxx".encode())
        held.append(connection)
    until(lambda: client.post(BREED, content=photo()).status_code == 429)
    assert client.get("/healthz").status_code == 200
    for connection in held:
        connection.close()
    until(lambda: client.post(BREED, content=photo()).status_code == 200)


def test_a_caller_that_does_not_read_its_answers_loses_its_connection(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.server.protocol.STALLED_ANSWER_SECONDS", 0.2)
    with connect(gateway) as connection:
        connection.sendall(b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        until(lambda: _is_lost(connection))


@contextlib.contextmanager
def answering(body: bytes) -> Iterator[httpx.Client]:
    """A server in which every request gets that answer at once, whatever else it sends."""

    async def answer(_: Request) -> Response:
        return Response(body)

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    with running_gateway(Settings(), app) as client:
        yield client


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
    monkeypatch.setattr("gateway.http.server.protocol.STALLED_ANSWER_SECONDS", 0.2)
    pending, lost = threading.Event(), threading.Event()
    write, connection_made, connection_lost = (
        HttpProtocol.write,
        HttpProtocol.connection_made,
        HttpProtocol.connection_lost,
    )

    def with_a_small_buffer(protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection_made(protocol, transport)

    def noting_what_is_left(protocol: HttpProtocol, data: bytes) -> None:
        write(protocol, data)
        assert not protocol.flow.write_paused, "the answer is too long for this test"
        pending.set()

    def noting_the_end(protocol: HttpProtocol, error: Exception | None) -> None:
        connection_lost(protocol, error)
        lost.set()

    monkeypatch.setattr(HttpProtocol, "connection_made", with_a_small_buffer)
    monkeypatch.setattr(HttpProtocol, "write", noting_what_is_left)
    monkeypatch.setattr(HttpProtocol, "connection_lost", noting_the_end)
    with answering(b"x" * 60_000) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert pending.wait(DEADLINE_SECONDS)
        assert lost.wait(DEADLINE_SECONDS)


def test_an_answer_that_is_read_slowly_but_steadily_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.server.protocol.STALLED_ANSWER_SECONDS", 1.5)
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


def answered(client: httpx.Client, sent: bytes) -> bytes:
    with connect(client) as connection:
        connection.sendall(sent)
        return read_all(connection)


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


def test_small_chunks_of_a_body_whose_answer_is_out_bring_no_second_answer(gateway: httpx.Client) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 404")
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"1\r\nx\r\n" * 10_000)
            received += read_all(connection)
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_a_body_in_chunks_of_a_size_that_clients_use_is_answered(gateway: httpx.Client, size: int) -> None:
    body = photo("blue", size=(40, 30) if size == 1 else (600, 400), encoding="PNG" if size == 1 else "BMP")
    assert len(body) < 1024 if size == 1 else len(body) > 2**19
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'"breed":"blue"' in answered(gateway, head.encode() + chunked(body, size))


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


@pytest.mark.parametrize("wait", [True, False], ids=["waits", "reads"])
def test_a_body_is_read_no_faster_than_its_request_takes_it(monkeypatch: pytest.MonkeyPatch, wait: bool) -> None:
    monkeypatch.setattr("gateway.http.server.protocol.LARGE_READ_BYTES", 1)  # so every read lets others go first
    held = []
    on_body = HttpProtocol.on_body

    def noted(protocol: HttpProtocol, body: bytes) -> None:
        on_body(protocol, body)
        held.append(len(protocol.cycle.body))

    monkeypatch.setattr(HttpProtocol, "on_body", noted)
    released = threading.Event()

    async def count(request: Request) -> Response:
        if wait:
            await asyncio.to_thread(released.wait, DEADLINE_SECONDS)
        return Response(str(len(await request.body())))

    app = Starlette(routes=[Route("/", count, methods=["POST"])])
    with running_gateway(Settings(), app) as client, connect(client) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {BIG}\r\n\r\n".encode())
        sent = 0
        connection.settimeout(0.5 if wait else DEADLINE_SECONDS)
        with contextlib.suppress(TimeoutError):
            while sent < BIG:
                sent += connection.send(b"x" * min(2**18, BIG - sent))
        assert (sent < BIG) == wait
        released.set()
        connection.settimeout(DEADLINE_SECONDS)
        connection.sendall(b"x" * (BIG - sent))
        assert read_all(connection).endswith(str(BIG).encode())
    assert max(held) < 2**20


def test_the_rest_of_a_large_body_that_was_answered_early_is_read() -> None:
    with answering(b"done") as client, connect(client) as connection:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BIG}\r\n\r\n".encode()
        last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(head + b"x" * BIG + last)
        assert read_all(connection).count(b"HTTP/1.1 200") == 2


def test_uvicorn_and_fastapi_are_those_that_the_protocol_was_read_against() -> None:
    """Where this fails, read the protocol against the new uvicorn; then put its version and digest here."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    caps = {name: next(one for one in dependencies if re.match(rf"{name}\W", one)) for name in ("uvicorn", "fastapi")}
    for name, cap in caps.items():
        minor = ".".join(importlib.metadata.version(name).split(".")[:2])
        assert cap == f"{name}=={minor}.*"
    sources = "".join(inspect.getsource(module) for module in (httptools_impl, flow_control))
    assert hashlib.sha256(sources.encode()).hexdigest() == UVICORN_DIGEST


def test_requests_that_wait_behind_another_are_bounded(gateway: httpx.Client) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert answered(gateway, one * 60 + last).count(b"HTTP/1.1 200") == 61
    with connect(gateway) as connection:
        connection.sendall(one * 1000)
        with contextlib.suppress(ConnectionResetError):
            assert read_all(connection).count(b"HTTP/1.1 200") < 100


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


@pytest.mark.parametrize("more", [0, 3], ids=["one", "pipelined"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_that_is_over_is_freed_without_the_collector(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch, more: int, reset: bool
) -> None:
    made: list[weakref.ref[HttpProtocol]] = []
    connection_made = HttpProtocol.connection_made

    def noted(protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        made.append(weakref.ref(protocol))
        connection_made(protocol, transport)

    monkeypatch.setattr(HttpProtocol, "connection_made", noted)
    body = photo()
    request = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with connect(gateway) as connection:
                connection.sendall(request * (1 + more))
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    assert connection.recv(65536)
        until(lambda: len(made) >= 3 and not any(one() for one in made))
    finally:
        gc.enable()


def test_a_body_that_breaks_off_before_100_continue_is_sent_is_400_and_nothing_else(
    gateway: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(gateway) as connection:
        connection.sendall(head.encode() + b"zz\r\n")
        received = read_all(connection)
        assert gateway.get("/healthz").status_code == 200  # and so the other request is over
    assert received.startswith(b"HTTP/1.1 400")
    assert b"100 Continue" not in received
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize("target", ["http://example.com", "HTTP://example.com?a=b", "http://example.com:1/healthz"])
def test_a_request_for_a_whole_address_is_answered(gateway: httpx.Client, target: str) -> None:
    received = answered(gateway, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("second", ["GET http://example.com:x/ HTTP/1.1\r\n\r\n", "no HTTP\r\n\r\n"])
def test_no_request_gets_the_answer_to_one_that_follows_it(
    gateway: httpx.Client, model_server: ColourServer, second: str
) -> None:
    assert gateway.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    body = photo()
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    assert answered(gateway, head.encode() + body + second.encode()) == b""


@pytest.mark.parametrize("path", ["/v1/models/colours:predict", "/v2/models/colours/infer"])
def test_a_broken_body_is_refused_in_the_words_of_its_interface(gateway: httpx.Client, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, _, body = answered(gateway, head.encode() + b"zz\r\n").partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/json" in answer
    assert json.loads(body).keys() == {"error"}


@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
@pytest.mark.parametrize("behind", [0, 1, 3])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_request_is_cancelled_when_its_caller_hangs_up_whatever_waits_behind_it(
    start: Start,
    model_server: ColourServer,
    caplog: pytest.LogCaptureFixture,
    together: bool,
    behind: int,
    reset: bool,
) -> None:
    gateway = start(request_timeout_seconds=600)
    assert gateway.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    body = photo()
    first = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    others = first * behind
    with connect(gateway) as connection:
        connection.sendall(first + others if together else first)
        until(lambda: model_server.waiting >= 1)
        if not together:
            connection.sendall(others)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: model_server.given_up >= 1)
    model_server.stalled.clear()
    assert gateway.post(BREED, content=photo()).status_code == 200
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
