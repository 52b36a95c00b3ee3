"""Answers to requests whose body has not arrived: clients can read them, and the connection goes on."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import requests

from testing.colour_server import ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.http.server.raw_http import BIG, BREED, answering, connect, read_all

Start = Callable[..., httpx.Client]


def pieces(total: int = BIG) -> Iterator[bytes]:
    for _ in range(total // 2**16):
        yield b"x" * 2**16


def with_httpx(url: str, chunked: bool) -> tuple[int, str]:
    headers = {"content-type": "image/png"}
    answer = httpx.post(url, content=pieces() if chunked else b"x" * BIG, headers=headers, timeout=DEADLINE_SECONDS)
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
    client = start(header_timeout_seconds=0.3)

    def status(connection: socket.socket) -> int:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status

    def is_kept() -> bool:
        """Whether it is. It is closed if this process is too slow to send the rest of the body in time."""
        with contextlib.suppress(ConnectionError), connect(client) as connection:
            connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            assert status(connection) == 404
            connection.sendall(b"x" * 99_000)
            readable, _, _ = select.select([connection], [], [], 1)
            if readable:
                received = connection.recv(65536)
                assert not received or received.startswith(b"HTTP/1.1 408")
                return False
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status(connection) == 200
            return True
        return False

    assert any(is_kept() for _ in range(5)), "the connection was closed each time"


def test_an_answer_in_place_of_100_continue_ends_the_connection(start: Start) -> None:
    with connect(start(max_upload_bytes=100)) as connection:
        connection.sendall(
            f"POST {BREED} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n".encode()
        )
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_small_chunks_of_a_body_whose_answer_is_out_bring_no_second_answer(gateway: httpx.Client) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = connection.recv(12, socket.MSG_WAITALL)
        assert received == b"HTTP/1.1 404"
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"1\r\nx\r\n" * 10_000)
            received += read_all(connection)
    assert received.count(b"HTTP/1.1 ") == 1


def test_the_rest_of_a_large_body_that_was_answered_early_is_read() -> None:
    with answering(b"done") as client, connect(client) as connection:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BIG}\r\n\r\n".encode()
        last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(head + b"x" * BIG + last)
        assert read_all(connection).count(b"HTTP/1.1 200") == 2


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
