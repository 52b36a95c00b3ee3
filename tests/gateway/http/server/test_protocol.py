"""Connections: freed when they end, read at the pace of their request, and one answer for each request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import importlib.metadata
import inspect
import logging
import re
import socket
import struct
import threading
import tomllib
import weakref
from collections.abc import Callable

import httpx
import pytest
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
from tests.gateway.http.server.raw_http import BIG, BREED, answered, connect, read_all

Start = Callable[..., httpx.Client]

UVICORN_DIGEST = "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455"
"""SHA-256 of the source of the two modules of uvicorn that `gateway.http.server.protocol` builds on."""


@pytest.mark.parametrize(("count", "status"), [(99, b"200"), (100, b"431")])
def test_more_than_100_headers_are_431(gateway: httpx.Client, count: int, status: bytes) -> None:
    head = b"GET /healthz HTTP/1.0\r\nHost: x\r\n" + b"a:b\r\n" * count + b"\r\n"
    assert answered(gateway, head)[9:12] == status


def test_refusals_of_the_server_itself_have_cross_origin_headers(start: Start) -> None:
    client = start(cors_origins="https://example.com")
    refused = answered(client, b"GET / HTTP/2.0\r\nHost: x\r\nOrigin:" + b" " * 2000 + b"x\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 505")
    assert answered(client, b"NO HTTP\r\nOrigin:" + b" " * 2000 + b"x").startswith(b"HTTP/1.1 400")
    allowed = answered(client, b"NO HTTP\r\nOrigin: \t https://example.com \r\n\r\n").lower()
    assert b"access-control-allow-origin: https://example.com\r\n" in allowed


@pytest.mark.parametrize("wait", [True, False], ids=["waits", "reads"])
def test_a_body_is_read_no_faster_than_its_request_takes_it(monkeypatch: pytest.MonkeyPatch, wait: bool) -> None:
    monkeypatch.setattr("gateway.http.server.protocol.LARGE_READ_BYTES", 1)  # so every read lets others go first
    buffered = []
    on_body = HttpProtocol.on_body

    def recording_on_body(protocol: HttpProtocol, body: bytes) -> None:
        on_body(protocol, body)
        buffered.append(len(protocol.cycle.body))

    monkeypatch.setattr(HttpProtocol, "on_body", recording_on_body)
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
    assert max(buffered) < 2**20


def test_uvicorn_and_fastapi_are_those_that_the_protocol_was_read_against() -> None:
    """Where this fails, read the protocol against the new uvicorn; then put its version and digest here."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    caps = {name: next(one for one in dependencies if re.match(rf"{name}\W", one)) for name in ("uvicorn", "fastapi")}
    for name, cap in caps.items():
        minor = ".".join(importlib.metadata.version(name).split(".")[:2])
        assert cap == f"{name}=={minor}.*"
    sources = "".join(inspect.getsource(module) for module in (httptools_impl, flow_control))
    assert hashlib.sha256(sources.encode()).hexdigest() == UVICORN_DIGEST


@pytest.mark.parametrize("more", [0, 3], ids=["one", "pipelined"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_that_is_over_is_freed_without_the_collector(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch, more: int, reset: bool
) -> None:
    made: list[weakref.ref[HttpProtocol]] = []
    connection_made = HttpProtocol.connection_made

    def recording_connection_made(protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        made.append(weakref.ref(protocol))
        connection_made(protocol, transport)

    monkeypatch.setattr(HttpProtocol, "connection_made", recording_connection_made)
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


@pytest.mark.parametrize("second", ["GET http://example.com:x/ HTTP/1.1\r\n\r\n", "no HTTP\r\n\r\n"])
def test_no_request_gets_the_answer_to_one_that_follows_it(
    gateway: httpx.Client, model_server: ColourServer, second: str
) -> None:
    assert gateway.post(BREED, content=photo()).status_code == 200
    model_server.stalled.set()
    body = photo()
    head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    assert answered(gateway, head.encode() + body + second.encode()) == b""


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
