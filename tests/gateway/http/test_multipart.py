from __future__ import annotations

import gc
import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message

from gateway.errors import BadRequest
from gateway.http.request_body import read_upload
from gateway.http.upload import Upload
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS
from tests.gateway.http.forms import BATCH, BREED, form, posted

Start = Callable[..., httpx.Client]
UNFINISHED = f"POST {BREED} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc".encode()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (form(), (400, "bad_request")),
        (form(('name="photo"; filename="a.png"', photo())), (400, "bad_request")),
        (form(('name="image"; filename=""', b"")), (400, "bad_request")),
        (form(('name="image"; filename="a.png"', b"")), (422, "invalid_image")),
        (form(*[('name="image"; filename="a.png"', photo())] * 2), (400, "bad_request")),
        (form(('name="image"; filename="a.png"', photo()), closed=False), (400, "bad_request")),
        ((form(('name="image"; filename="a.png"', photo()))[0][:60], form()[1]), (400, "bad_request")),
        ((b"", form()[1]), (400, "bad_request")),
        ((b"garbage", form()[1]), (400, "bad_request")),
        ((b"", {"content-type": "multipart/form-data"}), (400, "bad_request")),
        ((b"", {"content-type": "image/png"}), (400, "bad_request")),
        ((b"{}", {"content-type": "application/json"}), (415, "unsupported_image")),
        ((photo(), {"content-encoding": "gzip"}), (415, "unsupported_request")),
        ((form()[0], {**form()[1], "content-encoding": "BR"}), (415, "unsupported_request")),
        ((b"image=x", {"content-type": "application/x-www-form-urlencoded"}), (415, "unsupported_request")),
        (form(*[(f'name="field{index}"', b"x") for index in range(40)]), (400, "bad_request")),
        (form(('name="image"' + ";" * 1000, photo())), (400, "bad_request")),
        ((photo(), {"content-type": "image/png" + ";" * 10_000}), (400, "bad_request")),
    ],
)
def test_a_body_without_one_readable_image_gets_one_clear_error(
    gateway: httpx.Client, sent: tuple[bytes, dict[str, str]], expected: tuple[int, str]
) -> None:
    assert posted(gateway, BREED, sent) == expected


@pytest.mark.parametrize(
    "parts",
    [
        [('name="top_k"', b"3"), ('name="image"; filename="a.png"', photo())],
        [('name="image"', photo())],
        [('name="image"; filename="a.png"', photo()), ('name="submit"', b"Send")],
        [('name="image"; filename=""', b""), ('name="file"; filename="a.png"', photo())],
    ],
)
def test_other_fields_and_empty_file_inputs_are_passed_over(
    gateway: httpx.Client, parts: list[tuple[str, bytes]]
) -> None:
    assert posted(gateway, BREED, form(*parts)) == (200, "")


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY", ""])
@pytest.mark.parametrize("path", [BREED, "/v1/models/colours:predict"])
def test_a_content_encoding_that_says_nothing_is_nothing(gateway: httpx.Client, path: str, encoding: str) -> None:
    content = photo() if path == BREED else b'{"signature_name": "describe", "instances": [0]}'
    answer = gateway.post(path, content=content, headers={"content-encoding": encoding})
    assert answer.status_code == 200, answer.text


def test_a_compressed_image_is_refused_by_the_name_of_its_encoding(gateway: httpx.Client) -> None:
    packed = gzip.compress(photo())
    for sent, headers in ((packed, {"content-type": "image/png"}), (gzip.compress(form()[0]), form()[1])):
        answer = gateway.post(BREED, content=sent, headers={**headers, "content-encoding": "gzip"})
        assert answer.status_code == 415
        assert "Content-Encoding 'gzip' is not accepted" in answer.json()["detail"]


def test_empty_file_inputs_without_end_are_not_gone_through(gateway: httpx.Client) -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=X"}
    answer = gateway.post(BREED, content=part * 1000 + b"--X--\r\n", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "too many parts" in answer.json()["detail"]


def test_an_image_that_holds_the_boundary_like_bytes_arrives_whole(gateway: httpx.Client) -> None:
    tail = b"\r\n--X\r\n--X-\r\r\n-"
    assert posted(gateway, BREED, form(('name="image"; filename="a.png"', photo() + tail), boundary="XY"))[0] == 200


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_over_the_limit_is_413_whether_it_says_its_length_or_not(start: Start, declared: bool) -> None:
    client = start(max_upload_bytes=200_000)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    content = b"".join(pieces()) if declared else pieces()
    answer = client.post(BREED, content=content, headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert answer.json()["limit"] == 200_000
    assert client.post(BREED, content=photo()).status_code == 200


def test_a_file_at_the_limit_is_taken_in_a_form_too(start: Start) -> None:
    image = photo()
    client = start(max_upload_bytes=len(image))
    assert client.post(BREED, files={"image": image}).status_code == 200
    assert client.post(BREED, files={"image": image + b"\0"}).json()["code"] == "upload_too_large"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_files_of_an_upload_that_is_cut_off_are_freed_at_once() -> None:
    body, headers = form(('name="image"; filename="a.png"', b"x" * 100_000), closed=False)
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    scope = {"type": "http", "method": "POST", "headers": [(name.encode(), headers[name].encode()) for name in headers]}
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(BadRequest, match="incomplete"):
            await read_upload(Request(scope, receive), max_bytes=2**20)
        assert not [one for one in gc.get_objects() if isinstance(one, Upload)]
    finally:
        gc.enable()


@pytest.mark.parametrize("in_a_form", [True, False], ids=["form", "body"])
def test_a_photo_of_many_megabytes_is_answered(gateway: httpx.Client, in_a_form: bool) -> None:
    image = photo("green", size=(1700, 1300), encoding="BMP")
    assert len(image) > 6 * 2**20
    sent = {"files": {"image": image}} if in_a_form else {"content": image}
    answer = gateway.post(BREED, **sent)
    assert (answer.status_code, answer.json()["breed"]) == (200, "green"), answer.text


def test_a_file_of_a_batch_over_its_limit_fails_alone(start: Start) -> None:
    client = start(max_upload_bytes=1000)
    files = [("images", ("a.png", photo("green"))), ("images", ("b.png", b"x" * 5000)), ("images", ("c.png", photo()))]
    results = client.post(BATCH, files=files).json()["results"]
    assert [one.get("breed") for one in results] == ["green", None, "red"]
    assert results[1]["error"]["status"] == 413


def test_a_batch_body_over_its_limit_is_413(start: Start) -> None:
    client = start(max_batch_upload_bytes=2000)
    answer = client.post(BATCH, files=[("images", ("a.png", b"x" * 5000))])
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_a_batch_that_is_no_form_is_415(gateway: httpx.Client) -> None:
    answer = gateway.post(BATCH, content=photo(), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_request")


def test_file_names_come_back_without_folders_and_control_characters(gateway: httpx.Client) -> None:
    parts = [(f'name="images"; filename="{name}"', photo()) for name in ("../../etc/a.png", "C:\\x\\b.png", "ü\tc.png")]
    sent = form(*parts)
    results = gateway.post(BATCH, content=sent[0], headers=sent[1]).json()["results"]
    assert [one["filename"] for one in results] == ["a.png", "b.png", "üc.png"]


def test_an_upload_that_stalls_is_cut_off_with_408(start: Start) -> None:
    client = start(upload_timeout_seconds=0.3)
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port or 80), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(UNFINISHED)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        # Reads one answer only: the connection stays open for 75 s.
        assert (answer.status, json.loads(answer.read())["code"]) == (408, "upload_timeout")


def test_a_caller_that_hangs_up_in_the_middle_disturbs_nobody(gateway: httpx.Client) -> None:
    host, port = gateway.base_url.host, gateway.base_url.port
    for _ in range(20):
        with socket.create_connection((host, port or 80), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(UNFINISHED)
    assert gateway.post(BREED, content=photo()).status_code == 200


@pytest.mark.parametrize("filler", [b" ", b"\r\n--a-", b"\r\n--ax"], ids=["padding", "dashes", "boundaries"])
def test_a_form_that_is_all_boundaries_is_refused_before_it_is_parsed(gateway: httpx.Client, filler: bytes) -> None:
    begin = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--a'
    body = begin + filler * (2**20 // len(filler))
    answer = gateway.post(BREED, content=body, headers={"content-type": "multipart/form-data; boundary=a"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "form" in answer.json()["detail"]
