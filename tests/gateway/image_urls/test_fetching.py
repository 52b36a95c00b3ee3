"""Images by URL, from real servers on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from gateway.errors import ImageNotFetched
from gateway.image_urls.fetcher import ImageFetcher
from gateway.settings import Settings
from testing.colour_server import ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS
from testing.processes import LOOPBACK
from tests.gateway.conftest import model_server as model_server
from tests.gateway.conftest import start as start

Start = Callable[..., httpx.Client]
PATH = "/api/v1/predict_breed"


def answer(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


class ImageServer:
    """Answers each connection with the bytes of its path; then it closes the connection, or keeps it open."""

    def __init__(self, answers: dict[str, bytes], tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self._tls = tls
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            path = ""
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                request = connection.recv(65_536).decode()
                self.requests.append(request)
                path = request.split(" ")[1]
                connection.sendall(self.answers[path])
            except OSError:  # the client has closed the connection
                path = ""
            if path.startswith("/open"):
                self._open.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends accept
        self._thread.join(DEADLINE_SECONDS)
        self._socket.close()
        for one in self._open:
            one.close()


@contextmanager
def images(tls: ssl.SSLContext | None = None, **answers: bytes) -> Iterator[ImageServer]:
    server = ImageServer({f"/{name}": content for name, content in answers.items()}, tls)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[ImageServer]:
    large = b"\x00" * 300_000
    with images(
        photo=answer(photo("green"), "Content-Type: image/png"),
        until_the_end=answer(photo("blue"), length=False),
        chunked=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(photo("red")), photo("red")),
        moved=answer(b"", "Location: /photo", status="302 Found"),
        missing=answer(b"not here", status="404 Not Found"),
        truncated=answer(photo("green"))[:-10],
        announced=b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        large=answer(large, length=False),
        headers=answer(b"", *[f"X-{index}: {'x' * 1000}" for index in range(40)]),
        compressed=answer(photo("red"), "Content-Encoding: gzip"),
        nonsense=b"SSH-2.0-OpenSSH\r\n\r\n",
        nothing=answer(b""),
        open_silent=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        open_header=b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000,
        open_pieces=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000,
        page=answer(b"<!DOCTYPE html><html>"),
        request=answer(json.dumps({"inputs": "AA==", "parameters": {"top_k": 10**6}}).encode()),
    ) as server:
        yield server


def allowing(server: ImageServer, scheme: str = "http") -> dict[str, object]:
    return {
        "image_url_origins": f"{scheme}://localhost:{server.port}",
        "image_url_private": True,
        "image_url_timeout_seconds": 60,
        "max_upload_bytes": 200_000,
    }


@pytest.mark.parametrize(("name", "label"), [("photo", "green"), ("until_the_end", "blue"), ("chunked", "red")])
def test_an_image_of_an_allowed_origin_is_classified(start: Start, server: ImageServer, name: str, label: str) -> None:
    gateway = start(**allowing(server))
    url = f"http://localhost:{server.port}/{name}"
    for path in (PATH, "/api/v1/models/colours/predict", f"{PATH}/explain"):
        response = gateway.post(path, json={"url": url})
        assert response.status_code == 200, response.text
        assert response.json()["predictions"][0]["label"] == label
    assert server.requests[0].startswith(f"GET /{name} HTTP/1.1\r\nHost: localhost:{server.port}\r\n")


def test_it_is_off_by_default(start: Start, server: ImageServer) -> None:
    response = start().post(PATH, json={"url": f"http://localhost:{server.port}/photo"})
    assert response.status_code == 415
    assert not server.requests


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("moved", 422, "Redirects are not followed"),
        ("missing", 422, "answered with status 404"),
        ("truncated", 422, "closed the connection too early"),
        ("announced", 413, "larger than the limit of 200,000 bytes"),
        ("large", 413, "larger than the limit of 200,000 bytes"),
        ("headers", 422, "too many headers"),
        ("open_header", 422, "too many headers"),
        ("open_pieces", 422, "pieces that are too small"),
        ("compressed", 422, "compresses it"),
        ("nonsense", 422, "does not speak HTTP/1.1"),
        ("nothing", 422, "returned no content"),
        ("page", 415, "web page"),
    ],
)
def test_what_is_no_image_is_refused(start: Start, server: ImageServer, name: str, status: int, message: str) -> None:
    response = start(**allowing(server)).post(PATH, json={"url": f"http://localhost:{server.port}/{name}"})
    assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text


def test_a_silent_server_costs_a_bounded_time(start: Start, server: ImageServer) -> None:
    gateway = start(**allowing(server) | {"image_url_timeout_seconds": 0.3})
    response = gateway.post(PATH, json={"url": f"http://localhost:{server.port}/open_silent"})
    assert (response.status_code, response.json()["code"]) == (422, "image_not_fetched")
    assert "within 0.3 seconds" in response.json()["detail"]


def test_private_addresses_are_refused_unless_they_are_allowed(start: Start, server: ImageServer) -> None:
    gateway = start(**allowing(server) | {"image_url_private": False})
    response = gateway.post(PATH, json={"url": f"http://localhost:{server.port}/photo"})
    assert (response.status_code, response.json()["code"]) == (422, "image_not_fetched")
    assert "private address" in response.json()["detail"]
    assert not server.requests


def test_other_origins_and_other_bodies_are_refused(start: Start, server: ImageServer) -> None:
    gateway = start(**allowing(server))
    for url in (
        f"http://{LOOPBACK}:{server.port}/photo",
        f"https://localhost:{server.port}/photo",
        "http://localhost/",
    ):
        assert "not allowed" in gateway.post(PATH, json={"url": url}).json()["detail"]
    assert gateway.post(PATH, json={"url": 7}).status_code == 400
    assert gateway.post(PATH, json={"uri": "x"}).status_code == 415
    assert gateway.post(PATH, json={"url": "x" * 5000}).status_code == 415
    assert not server.requests


def test_a_server_that_cannot_be_reached(start: Start) -> None:
    with images() as server:
        settings = allowing(server)
    response = start(**settings).post(PATH, json={"url": f"{settings['image_url_origins']}/photo"})
    assert (response.status_code, response.json()["detail"]) == (422, "The server of the image cannot be reached.")
    gateway = start(image_url_origins="https://nowhere.invalid", image_url_timeout_seconds=60)
    response = gateway.post(PATH, json={"url": "https://nowhere.invalid/photo"})
    assert response.json()["detail"] == "The host name of the url cannot be resolved."


def test_the_certificate_must_be_that_of_the_host(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))  # what OpenSSL trusts
    for name, status in (("localhost", 200), ("other.example", 422)):
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(tls)
        with images(tls, photo=answer(photo("green"))) as server:
            response = start(**allowing(server, "https")).post(
                PATH, json={"url": f"https://localhost:{server.port}/photo"}
            )
            assert response.status_code == status, response.text


def test_origins_that_are_none_are_refused() -> None:
    for origin in ("images.example", "https://", "https://images.example/path", "*", "https://*"):
        with pytest.raises(ValueError, match="is not an origin"):
            Settings.model_validate({"image_url_origins": origin})


def test_memory_and_permits_are_given_back(start: Start, server: ImageServer, model_server: ColourServer) -> None:
    gateway = start(**allowing(server), max_uploads=1)
    url = f"http://localhost:{server.port}"
    for _ in range(3):
        assert gateway.post(PATH, json={"url": f"{url}/missing"}).status_code == 422
        assert gateway.post(PATH, json={"url": f"{url}/photo"}).status_code == 200
    assert model_server.calls


def test_every_route_that_takes_an_image_takes_its_url(start: Start, server: ImageServer) -> None:
    gateway = start(**allowing(server))
    for path in ("/api/v1/models/colours/embed", "/api/v1/preview"):
        response = gateway.post(path, json={"url": f"http://localhost:{server.port}/photo"})
        assert response.status_code == 200, response.text
        refused = gateway.post(path, json={"url": "http://elsewhere.example/photo"})
        assert (refused.status_code, refused.json()["code"]) == (422, "image_not_fetched")
    response = gateway.post("/hf/models/colours", json={"url": f"http://localhost:{server.port}/photo"})
    assert response.json()[0]["label"] == "green"
    assert gateway.post("/hf/models/colours", json={"url": "http://elsewhere.example/photo"}).status_code == 422


def test_a_fetched_file_is_an_image_and_not_another_request(start: Start, server: ImageServer) -> None:
    response = start(**allowing(server)).post(
        "/hf/models/colours", json={"url": f"http://localhost:{server.port}/request"}
    )
    assert response.status_code == 415, response.text
    assert "top_k" not in response.text


def test_names_that_take_long_to_resolve_delay_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        may_end.wait(DEADLINE_SECONDS)
        raise socket.gaierror

    async def others_work() -> None:
        fetcher = ImageFetcher(["http://*.example.com"], allow_private=False, seconds=DEADLINE_SECONDS, max_bytes=1)
        fetches = [
            asyncio.create_task(fetcher.fetch(f"http://{name}.example.com/", lambda _: None)) for name in range(100)
        ]
        try:
            async with asyncio.timeout(DEADLINE_SECONDS / 2):
                await asyncio.sleep(0)
                await asyncio.to_thread(lambda: None)
        finally:
            may_end.set()
        assert all(isinstance(one, ImageNotFetched) for one in await asyncio.gather(*fetches, return_exceptions=True))
        fetcher.close()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    asyncio.run(others_work())
