"""Bodies of the REST interface of TensorFlow Serving: JSON, compression, and limits on bytes and memory."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from gateway.pb.serving_pb2 import DataType
from testing.colour_server import ColourServer, ForeignModel
from testing.photos import photo
from testing.polling import until
from tests.gateway.http.routes.arithmetic import FLOAT, Arithmetic, post, rounded

Start = Callable[..., httpx.Client]

HALF_A_PAIR = rb'{"signature_name": "\ud800", "instances": [NaN]}'


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": [NaN, ' + b"[" * 100_000, HALF_A_PAIR]
)
def test_what_is_not_json_is_400(gateway: httpx.Client, content: bytes) -> None:
    answer = gateway.post("/v1/models/colours:predict", content=content)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/models/colours:predict", "/v2/models/colours/infer"])
def test_an_image_file_or_a_form_in_place_of_json_is_named(gateway: httpx.Client, path: str) -> None:
    for sent, words in (
        ({"content": photo()}, "The body is binary data, not JSON. Send images in base64; /api and /hf take"),
        ({"files": {"image": photo()}}, "The body is a form, not JSON."),
    ):
        answer = gateway.post(path, **sent)
        assert answer.status_code == 400
        assert words in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_json_in_another_encoding_is_not_taken_for_an_image(gateway: httpx.Client, encoding: str) -> None:
    answer = gateway.post("/v1/models/colours:predict", content='{"inputs": "é"}'.encode(encoding))
    assert (answer.status_code, answer.json()["error"]) == (400, "The body is not JSON in UTF-8.")


def test_lists_nested_deeper_than_any_tensor_are_400(arithmetic: httpx.Client) -> None:
    answer = arithmetic.post("/v1/models/sums:predict", content=b'{"inputs": ' + b"[" * 200 + b"]" * 200 + b"}")
    assert answer.status_code == 400
    assert "deep" in answer.json()["error"]


def test_a_body_over_the_limit_is_413(start: Start) -> None:
    gateway = start(max_tensor_body_bytes=1000)
    answer = gateway.post("/v1/models/colours:predict", content=b" " * 1001)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


BODY = b'{"inputs": [[1, 2]]}'

GZIP, DEFLATE = {"content-encoding": "gzip"}, {"content-encoding": "deflate"}


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (gzip.compress(BODY, mtime=0), GZIP),
        (gzip.compress(BODY[:5], mtime=0) + gzip.compress(BODY[5:], mtime=0), GZIP),
        (gzip.compress(BODY, mtime=0), {"content-encoding": "GZip"}),
        (zlib.compress(BODY), DEFLATE),
    ],
)
def test_compressed_bodies_are_read(arithmetic: httpx.Client, content: bytes, headers: dict[str, str]) -> None:
    answer = arithmetic.post("/v1/models/sums:predict", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert rounded(answer.json()) == {"outputs": [[0.1, 0.2]]}
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    packed = gzip.compress(json.dumps({"inputs": [tensor]}).encode())
    assert arithmetic.post("/v2/models/sums/infer", content=packed, headers=GZIP).status_code == 200


@pytest.mark.parametrize(
    ("content", "encoding", "status", "words"),
    [
        (gzip.compress(b" " * 2**20, mtime=0), "gzip", 413, "more than the 100,000 bytes"),
        (gzip.compress(gzip.compress(b" " * 2**20, mtime=0), mtime=0), "gzip", 400, "not JSON"),
        (gzip.compress(b"", mtime=0) * 1100, "gzip", 400, "more than 1000 parts"),
        (gzip.compress(BODY, mtime=0)[:-9], "gzip", 400, "cut off"),
        (BODY, "gzip", 400, "not compressed as its Content-Encoding says"),
        (BODY, "br", 400, "The content encoding 'br' is not accepted; gzip and deflate are."),
        (BODY, "gzip, gzip", 400, "is not accepted"),
    ],
)
def test_a_compressed_body_that_cannot_be_read_is_told_so(
    start: Start, content: bytes, encoding: str, status: int, words: str
) -> None:
    gateway = start(max_tensor_body_bytes=100_000)
    answer = gateway.post("/v1/models/colours:predict", content=content, headers={"content-encoding": encoding})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_body_that_does_not_fit_into_a_worker_is_413_and_nobody_else_notices(
    start: Start, model_server: ColourServer, caplog: pytest.LogCaptureFixture
) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start(worker_memory_bytes=64 * 2**20, max_tensor_body_bytes=128 * 2**20)
    refused = gateway.post("/v1/models/sums:predict", content=b'{"inputs": [[1, 2]]}' + b" " * (100 * 2**20))
    assert (refused.status_code, list(refused.json())) == (413, ["error"])
    assert "more memory" in refused.json()["error"]
    assert post(gateway, {"inputs": [[1, 2]]}).status_code == 200
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_json_that_takes_more_memory_than_a_worker_may_use_is_413_however_the_parser_fails(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start(worker_memory_bytes=64 * 2**20)
    for size in (3 * 2**20, 4 * 2**20, 6 * 2**20, 12 * 2**20):
        for unit in (b"[1,2],", b'"a",'):
            body = b'{"inputs":[' + unit * (size // len(unit)) + unit[:-1] + b"]}"
            refused = gateway.post("/v1/models/sums:predict", content=body)
            assert (refused.status_code, "more memory" in refused.text) == (413, True), (size, unit, refused.text)
    assert post(gateway, {"inputs": [[1, 2]]}).status_code == 200


MEMORY = {
    "max_upload_bytes": 2**20,
    "max_batch_upload_bytes": 2**20,
    "max_tensor_body_bytes": 4 * 2**20,
    "max_upload_memory_bytes": 60 * 2**20,
}


def as_doubles(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.full((len(images), 1), 0.5, np.float32)


def a_long_answer(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.full((len(images), 1_500_000), 0.123456, np.float32)  # 6 MB, and 13.5 MB of JSON


def test_tensors_count_as_memory_of_their_caller_while_the_model_works(
    start: Start, model_server: ColourServer
) -> None:
    doubles = ForeignModel({"x": (DataType.DT_DOUBLE, (-1, -1))}, {"y": (FLOAT, (-1, 1))}, as_doubles)
    model_server.models["doubles"] = {1: doubles}
    gateway = start(**MEMORY, model_refresh_seconds=3600)
    path, packed = "/v1/models/doubles:predict", {"content-encoding": "gzip"}
    body = gzip.compress(b'{"instances":[[' + b"1," * 1_000_000 + b"1]]}")  # 2 kB for 8 MB of doubles
    assert gateway.post(path, content=body, headers=packed).status_code == 200
    model_server.stalled.set()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(gateway.post, path, content=body, headers=packed) for _ in range(2)]
        until(lambda: model_server.waiting == 2)
        refused = gateway.post(path, content=body, headers={**packed, "x-request-timeout": "20"})
        model_server.stalled.clear()
        assert [one.result().status_code for one in futures] == [200, 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1"), refused.text
    assert gateway.post(path, content=body, headers=packed).status_code == 200


def test_an_answer_counts_as_memory_of_its_caller_until_it_is_read(start: Start, model_server: ColourServer) -> None:
    model_server.models["long"] = {
        1: ForeignModel({"x": (FLOAT, (-1, 1))}, {"y": (FLOAT, (-1, 1_500_000))}, a_long_answer)
    }
    gateway = start(**MEMORY)
    path, body = "/v1/models/long:predict", b'{"instances":[[1]]}'
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((gateway.base_url.host, gateway.base_url.port))
        connection.sendall(request)
        assert connection.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        assert gateway.post(path, content=body).status_code == 429
    until(lambda: gateway.post(path, content=body).status_code == 200)
