"""Requests as bytes, for what no HTTP client would send."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.polling import DEADLINE_SECONDS

BREED = "/api/v1/predict_breed"
BIG = 40 * 2**20


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=DEADLINE_SECONDS)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@contextlib.contextmanager
def answering(body: bytes) -> Iterator[httpx.Client]:
    """A server in which every request gets that answer at once, whatever else it sends."""

    async def answer(_: Request) -> Response:
        return Response(body)

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    with running_gateway(Settings(), app) as client:
        yield client


def answered(client: httpx.Client, sent: bytes) -> bytes:
    with connect(client) as connection:
        connection.sendall(sent)
        return read_all(connection)
