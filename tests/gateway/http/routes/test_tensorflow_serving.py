from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import socket
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gateway.pb import serving_pb2 as pb
from gateway.pb.serving_pb2 import DataType
from gateway.settings import Settings
from gateway.tensors.wire import array_of
from testing.colour_server import ColourModel, ColourServer, ForeignModel, colour_scores, signature
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from testing.tensors import number_tensor, string_tensor

Start = Callable[..., httpx.Client]
FLOAT, INT32, INT64, UINT8 = DataType.DT_FLOAT, DataType.DT_INT32, DataType.DT_INT64, DataType.DT_UINT8
BOOL, HALF, STRING = DataType.DT_BOOL, DataType.DT_HALF, DataType.DT_STRING


@dataclass(frozen=True)
class Arithmetic:
    """A model of many signatures, none of them an image's; what it gets is what the gateway sent."""

    def signatures(self) -> dict[str, pb.SignatureDef]:
        described = {
            "serving_default": signature({"x": (FLOAT, (-1, 2))}, {"y": (FLOAT, (-1, 2))}),
            "sum": signature(
                {"a": (INT32, (-1,)), "b": (INT64, (-1,))}, {"sum": (INT64, (-1,)), "less": (BOOL, (-1,))}
            ),
            "echo": signature({"text": (STRING, (-1,))}, {"text": (STRING, (-1,)), "raw_bytes": (STRING, (-1,))}),
            "shout": signature({"text": (STRING, (-1,))}, {"loud_bytes": (STRING, (-1,))}),
            "total": signature({"x": (FLOAT, (-1, -1))}, {"total": (FLOAT, ())}),
            "half": signature({"x": (HALF, (-1,))}, {"y": (HALF, (-1,))}),
            "scalar": signature({"x": (FLOAT, ())}, {"y": (FLOAT, ())}),
            "open": signature({"x": (FLOAT, ())}, {"y": (FLOAT, ())}),
            "strange": signature({"x": (DataType.DT_BFLOAT16, (-1,))}, {"y": (FLOAT, (-1,))}),
            "nothing": signature({"x": (FLOAT, (-1,))}, {"y": (FLOAT, (-1,))}),
        }
        described["open"].inputs["x"].tensor_shape.unknown_rank = True
        return described

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        given = {key: array_of(tensor, max_elements=1000) for key, tensor in inputs.items()}
        if name == "serving_default":
            assert given["x"].dtype == np.float32
            return {"y": number_tensor(np.asarray(given["x"], np.float32) * np.float32(0.1))}
        if name == "sum":
            assert (str(given["a"].dtype), str(given["b"].dtype)) == ("int32", "int64")
            a, b = np.asarray(given["a"], np.int64), np.asarray(given["b"], np.int64)
            return {"sum": number_tensor(a + b), "less": number_tensor(a < b)}
        if name in ("echo", "shout"):
            texts = given["text"].tolist()
            if name == "shout":
                return {"loud_bytes": string_tensor([one.upper() for one in texts])}
            return {"text": string_tensor(texts), "raw_bytes": string_tensor(texts)}
        if name == "total":
            return {"total": number_tensor(np.asarray(np.float32(np.asarray(given["x"], np.float32).sum())))}
        if name == "nothing":
            return {"y": number_tensor(np.array([np.nan, np.inf, -np.inf], np.float32)[: given["x"].size])}
        assert name in ("half", "scalar"), name
        return {"y": number_tensor(given["x"])}


@dataclass(frozen=True)
class WithDefault(ColourModel):
    """A model of the contract whose default signature takes encoded images."""

    def signatures(self) -> dict[str, pb.SignatureDef]:
        default = signature(
            {"image_bytes": (STRING, (-1,))}, {"classes": (STRING, (-1, 3)), "scores": (FLOAT, (-1, 3))}
        )
        return {**super().signatures(), "serving_default": default}

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name != "serving_default":
            return super().predict(name, inputs)
        pictures = [Image.open(io.BytesIO(one)) for one in array_of(inputs["image_bytes"], max_elements=64).tolist()]
        assert all(one.format in ("JPEG", "PNG") for one in pictures)
        scores = colour_scores(np.stack([np.asarray(one.convert("RGB").resize((8, 8))) for one in pictures]))
        best = np.argsort(-scores, axis=1)
        names = [self.labels[index].encode() for index in best.ravel().tolist()]
        return {
            "classes": string_tensor(names, best.shape),
            "scores": number_tensor(np.take_along_axis(scores, best, 1)),
        }


@pytest.fixture(scope="module")
def sums_server() -> Iterator[ColourServer]:
    server = ColourServer(models={"sums": {1: Arithmetic(), 2: Arithmetic()}}, labels={("sums", "stable"): 1})  # type: ignore[dict-item]
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def arithmetic(sums_server: ColourServer) -> Iterator[httpx.Client]:
    settings = Settings.model_validate({"serving_target": sums_server.address, "default_model": "sums"})
    with running_gateway(settings) as client:
        yield client


def asked(gateway: httpx.Client, body: object, path: str = "/v1/models/sums:predict") -> httpx.Response:
    return gateway.post(path, content=json.dumps(body))


ANSWERS: dict[str, tuple[object, object]] = {
    "rows, the only input unnamed": (
        {"instances": [[1, 2], [3, 4.5]]},
        {"predictions": [[0.1, 0.2], [0.3, 0.45]]},
    ),
    "rows, named": ({"instances": [{"x": [1, 2]}]}, {"predictions": [[0.1, 0.2]]}),
    "columns, the only input unnamed": ({"inputs": [[1, 2]]}, {"outputs": [[0.1, 0.2]]}),
    "columns, named": ({"inputs": {"x": [[1, 2]]}}, {"outputs": [[0.1, 0.2]]}),
    "rows of two inputs and two outputs": (
        {"signature_name": "sum", "instances": [{"a": 1, "b": 2}, {"a": 5, "b": 4294967296}]},
        {"predictions": [{"sum": 3, "less": True}, {"sum": 4294967301, "less": True}]},
    ),
    "columns of two inputs and two outputs": (
        {"signature_name": "sum", "inputs": {"a": [1, 5], "b": [2, 4]}},
        {"outputs": {"sum": [3, 9], "less": [True, False]}},
    ),
    "bytes and text": (
        {"signature_name": "echo", "instances": [{"text": {"b64": "w6Q="}}, {"text": "b"}]},
        {"predictions": [{"text": "ä", "raw_bytes": {"b64": "w6Q="}}, {"text": "b", "raw_bytes": {"b64": "Yg=="}}]},
    ),
    "unnamed bytes, and bytes back": (
        {"signature_name": "shout", "instances": [{"b64": "YWI="}, "cd"]},
        {"predictions": [{"b64": "QUI="}, {"b64": "Q0Q="}]},
    ),
    "a scalar output in columns": ({"signature_name": "total", "inputs": [[1, 2], [3, 4]]}, {"outputs": 10.0}),
    "a scalar input": ({"signature_name": "scalar", "inputs": 3}, {"outputs": 3.0}),
    "half precision": ({"signature_name": "half", "inputs": [0.5, 2]}, {"outputs": [0.5, 2.0]}),
    "an empty signature name": ({"signature_name": "", "inputs": [[10, 20]]}, {"outputs": [[1.0, 2.0]]}),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_requests_in_both_forms_are_answered_like_the_real_server_does(arithmetic: httpx.Client, case: str) -> None:
    body, expected = ANSWERS[case]
    answer = asked(arithmetic, body)
    assert answer.status_code == 200, answer.text
    assert rounded(answer.json()) == expected
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == "2"
    assert "predict;dur=" in answer.headers["server-timing"]


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value


def test_what_is_not_finite_goes_through_as_the_real_server_writes_it(arithmetic: httpx.Client) -> None:
    content = b'{"signature_name": "nothing", "inputs": [NaN, Infinity, 0]}'
    answer = arithmetic.post("/v1/models/sums:predict", content=content)
    assert answer.text == '{"outputs": [NaN, Infinity, -Infinity]}'


def test_a_version_or_label_in_the_path_is_the_one_that_answers(arithmetic: httpx.Client) -> None:
    for path, version in (("versions/1", "1"), ("versions/2", "2"), ("labels/stable", "1")):
        answer = asked(arithmetic, {"inputs": [[1, 2]]}, f"/v1/models/sums/{path}:predict")
        assert answer.headers["x-model-version"] == version


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (":predict", {"instances": [[1, 2, 3]]}, 400, "must be of shape (n, 2), not (1, 3)"),
        (":predict", {"instances": [1, 2]}, 400, "must be of shape (n, 2), not (2)"),
        (":predict", {"instances": [[[1, 2]]]}, 400, "must be of shape (n, 2), not (1, 1, 2)"),
        (":predict", {"inputs": 1}, 400, "must be of shape (n, 2), not ()"),
        (":predict", {"instances": []}, 400, "at least one row"),
        (":predict", {"inputs": []}, 400, "must be of shape"),
        (":predict", {"instances": [[1, 2], [3]]}, 400, "different lengths"),
        (":predict", {"instances": [[1, 2], 3]}, 400, "mixes lists and values"),
        (":predict", {"instances": [[1, "2"]]}, 400, "does not hold a string"),
        (":predict", {"instances": [[1, None]]}, 400, "does not hold a null"),
        (":predict", {"instances": [[1, True]]}, 400, "does not hold a boolean"),
        (":predict", {"instances": [{"x": [1, 2]}, {"y": [1, 2]}]}, 400, "same inputs"),
        (":predict", {"instances": [{"y": [1, 2]}]}, 400, "The inputs must be 'x', not 'y'"),
        (":predict", {"inputs": {"x": [[1, 2]], "z": 1}}, 400, "not 'x', 'z'"),
        (":predict", {}, 400, "one of instances and inputs"),
        (":predict", {"instances": [[1, 2]], "inputs": [[1, 2]]}, 400, "one of instances and inputs"),
        (":predict", [[1, 2]], 400, "JSON object"),
        (":predict", {"signature_name": 3, "inputs": 1}, 400, "signature_name must be a string"),
        (":predict", {"signature_name": "nope", "inputs": 1}, 400, 'Serving signature key "nope" not found'),
        (":predict", {"signature_name": "sum", "inputs": {"a": [1.5], "b": [1]}}, 400, "does not hold a fraction"),
        (":predict", {"signature_name": "sum", "inputs": {"a": [2**31], "b": [1]}}, 400, "out of the range of int32"),
        (":predict", {"signature_name": "sum", "inputs": {"a": [1, 2], "b": [1]}}, 400, "different numbers of rows"),
        (":predict", {"signature_name": "sum", "inputs": [1]}, 400, "must be named"),
        (":predict", {"signature_name": "echo", "inputs": [1]}, 400, "accepts strings"),
        (":predict", {"signature_name": "echo", "inputs": [{"b64": "?"}]}, 400, "not base64"),
        (":predict", {"signature_name": "open", "inputs": [1]}, 400, "leaves the rank"),
        (":predict", {"signature_name": "strange", "inputs": [1]}, 400, "bfloat16"),
        (":predict", {"signature_name": "total", "instances": [[1]]}, 400, "one row for each instance"),
        (":predict", {"inputs": [[1, 2]] * 33}, 400, "33 rows exceed the limit of 32"),
        (":classify", {"examples": []}, 400, "use :predict"),
        ("/versions/1:regress", {"examples": []}, 400, "use :predict"),
        ("/versions/77:predict", {"inputs": [[1, 2]]}, 404, "Servable not found for request: Specific(sums, 77)"),
        (
            "/versions/x:predict",
            {"inputs": [[1, 2]]},
            400,
            "Malformed request: POST /v1/models/sums/versions/x:predict",
        ),
        ("/labels/nope:predict", {"inputs": [[1, 2]]}, 400, "Unrecognized servable version label: nope"),
    ],
)
def test_a_request_that_does_not_fit_is_told_so_and_never_sent(
    arithmetic: httpx.Client, sums_server: ColourServer, path: str, body: object, status: int, words: str
) -> None:
    sums_server.batch_sizes.clear()
    answer = asked(arithmetic, body, f"/v1/models/sums{path}")
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]
    assert sums_server.batch_sizes == [] or "one row for each" in words


def test_an_unknown_model_is_404_as_an_error_object(gateway: httpx.Client) -> None:
    for answer in (asked(gateway, {"inputs": 1}, "/v1/models/nope:predict"), gateway.get("/v1/models/nope")):
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


HALF_A_PAIR = rb'{"signature_name": "\ud800", "instances": [NaN]}'


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": [NaN, ' + b"[" * 100_000, HALF_A_PAIR]
)
def test_what_is_not_json_is_400(gateway: httpx.Client, content: bytes) -> None:
    answer = gateway.post("/v1/models/colours:predict", content=content)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]


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
        (gzip.compress(gzip.compress(b" " * 2**26)), "gzip", 400, "not JSON"),
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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/sums:predict"),
        ("POST", "/v1/models/sums:explode"),
        ("GET", "/v1/models/sums:explode"),
        ("POST", "/v1/models/sums"),
        ("DELETE", "/v1/models/sums"),
        ("GET", "/v1/models/sums/versions/x"),
        ("GET", "/v1/models"),
        ("GET", "/v1/nothing/%0a"),
    ],
)
def test_an_unknown_verb_address_or_method_is_a_malformed_request_as_with_the_real_server(
    arithmetic: httpx.Client, method: str, path: str
) -> None:
    answer = arithmetic.request(method, path)
    assert (answer.status_code, answer.json()) == (400, {"error": f"Malformed request: {method} {path}"})


def test_what_is_not_served_is_said_in_the_words_of_the_real_server(arithmetic: httpx.Client) -> None:
    for path, status, words in (
        ("nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("nope/versions/3:predict", 404, "Servable not found for request: Specific(nope, 3)"),
        ("sums/versions/9:predict", 404, "Servable not found for request: Specific(sums, 9)"),
        ("sums/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
    ):
        answer = asked(arithmetic, {"inputs": [[1, 2]]}, f"/v1/models/{path}")
        assert (answer.status_code, answer.json()) == (status, {"error": words})
    for path, status, words in (
        ("sums/labels/canary/metadata", 400, "Unrecognized servable version label: canary"),
        ("nope", 404, "Could not find any versions of model nope"),
        ("sums/versions/9", 404, "Could not find version 9 of model sums"),
    ):
        answer = arithmetic.get(f"/v1/models/{path}")
        assert (answer.status_code, answer.json()) == (status, {"error": words})
    every = arithmetic.get("/v1/models/sums").json()
    assert arithmetic.get("/v1/models/sums/labels/canary").json() == every


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION])
def test_what_a_model_says_of_a_request_reaches_clients_of_this_interface_alone(
    start: Start, model_server: ColourServer, code: grpc.StatusCode
) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start()
    assert asked(gateway, {"inputs": [[1, 2]]}).status_code == 200

    class Refusing(Arithmetic):
        def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
            del name, inputs
            model_server.refusal = (code, "\n Matrix size-incompatible:\x1b[31m In[0]: [1,2]\n\t [[{{node x}}]]")
            raise ValueError

    model_server.models["sums"] = {1: Refusing()}  # type: ignore[dict-item]
    asked(gateway, {"inputs": [[1, 2]]})  # from here on every call is refused
    answer = asked(gateway, {"inputs": [[1, 2]]})
    assert (answer.status_code, answer.json()) == (400, {"error": "Matrix size-incompatible:\\x1b[31m In[0]: [1,2]"})
    photo_answer = gateway.post("/api/v1/predict_breed", content=photo())
    assert "Matrix" not in photo_answer.text


def test_keys_come_in_the_order_of_the_real_server(arithmetic: httpx.Client) -> None:
    [state, _] = arithmetic.get("/v1/models/sums").json()["model_version_status"]
    assert (list(state), list(state["status"])) == (["version", "state", "status"], ["error_code", "error_message"])
    described = arithmetic.get("/v1/models/sums/metadata").json()
    assert list(described) == ["model_spec", "metadata"]
    assert list(described["model_spec"]) == ["name", "signature_name", "version"]
    half = described["metadata"]["signature_def"]["signature_def"]["half"]
    assert list(half) == ["inputs", "outputs", "method_name"]
    assert list(half["inputs"]["x"]) == ["dtype", "tensor_shape", "name"]
    assert list(half["inputs"]["x"]["tensor_shape"]) == ["dim", "unknown_rank"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_body_that_does_not_fit_into_a_worker_is_413_and_nobody_else_notices(
    start: Start, model_server: ColourServer, caplog: pytest.LogCaptureFixture
) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start(worker_memory_bytes=64 * 2**20, max_tensor_body_bytes=128 * 2**20)
    refused = gateway.post("/v1/models/sums:predict", content=b'{"inputs": [[1, 2]]}' + b" " * (100 * 2**20))
    assert (refused.status_code, list(refused.json())) == (413, ["error"])
    assert "more memory" in refused.json()["error"]
    assert asked(gateway, {"inputs": [[1, 2]]}).status_code == 200
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
    assert asked(gateway, {"inputs": [[1, 2]]}).status_code == 200


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
        held = [pool.submit(gateway.post, path, content=body, headers=packed) for _ in range(2)]
        until(lambda: model_server.waiting == 2)
        refused = gateway.post(path, content=body, headers={**packed, "x-request-timeout": "20"})
        model_server.stalled.clear()
        assert [one.result().status_code for one in held] == [200, 200]
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


def test_rows_take_permits_like_images(start: Start, model_server: ColourServer) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start(max_images_in_flight=2, max_batch_images=2)
    assert asked(gateway, {"inputs": [[1, 2]] * 2}).status_code == 200
    refused = asked(gateway, {"inputs": [[1, 2]] * 3})
    assert refused.status_code == 429
    assert "retry-after" in refused.headers
    assert asked(gateway, {"inputs": [[1, 2]] * 2}).status_code == 200


def encoded(colour: str, encoding: str = "PNG") -> dict[str, str]:
    return {"b64": base64.b64encode(photo(colour, encoding=encoding)).decode()}


def test_images_are_refused_for_lack_of_permits_before_they_are_decoded(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    gateway = start(max_images_in_flight=2, max_batch_images=2)
    broken = {"b64": base64.b64encode(photo()[:50]).decode()}
    assert asked(gateway, {"instances": [broken] * 2}, "/v1/models/colours:predict").status_code == 400
    assert asked(gateway, {"instances": [broken] * 3}, "/v1/models/colours:predict").status_code == 429


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WebP", "GIF", "BMP"])
def test_encoded_images_are_classified_by_the_default_signature(
    gateway: httpx.Client, model_server: ColourServer, encoding: str
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    body = {"instances": [{"image_bytes": encoded("red", encoding)}, {"image_bytes": encoded("blue", encoding)}]}
    answer = asked(gateway, body, "/v1/models/colours:predict")
    assert answer.status_code == 200, answer.text
    assert [row["classes"][0] for row in answer.json()["predictions"]] == ["red", "blue"]
    assert answer.json()["predictions"][0]["scores"][0] > 0.8


@pytest.mark.parametrize("inputs", [{"a": 1.0}, {"a": [1.0, 2.0, 3.0]}, {"a": 1.0, "b": 2.0}])
def test_a_default_signature_may_take_no_images(
    gateway: httpx.Client,
    model_server: ColourServer,
    inputs: dict[str, float | list[float]],
) -> None:
    class Counting(ColourModel):
        def signatures(self) -> dict[str, pb.SignatureDef]:
            shapes = {name: (FLOAT, np.shape(value)) for name, value in inputs.items()}
            return {**super().signatures(), "serving_default": signature(shapes, {"count": (FLOAT, ())})}

        def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
            if name != "serving_default":
                return super().predict(name, inputs)
            sizes = [array_of(one, max_elements=9).size for one in inputs.values()]
            return {"count": number_tensor(np.array(sum(sizes), np.float32))}

    model_server.models["colours"] = {1: Counting()}
    answer = asked(gateway, {"inputs": inputs}, "/v1/models/colours:predict")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"outputs": sum(np.size(one) for one in inputs.values())}


@pytest.mark.parametrize("content", [b"no image", photo()[:-40], b""])
def test_an_image_that_would_fail_its_batch_on_the_server_is_refused_here(
    gateway: httpx.Client, model_server: ColourServer, content: bytes
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    body = {"instances": [encoded("red"), {"b64": base64.b64encode(content).decode()}]}
    answer = asked(gateway, body, "/v1/models/colours:predict")
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert model_server.batch_sizes == []


def test_pixels_of_another_size_would_fail_the_batch_they_share_and_are_refused(
    start: Start, model_server: ColourServer
) -> None:
    anysize = ForeignModel({"x": (FLOAT, (-1, -1, -1, 3))}, {"y": (FLOAT, (-1, 3))}, colour_scores)
    model_server.models["anysize"] = {1: anysize}
    gateway = start(models="anysize", model_options={"anysize": {"height": 4, "width": 6}})
    for height, width in ((6, 4), (4, 4), (1, 1)):
        pixels = np.ones((2, height, width, 3)).tolist()
        described = {"name": "x", "shape": [2, height, width, 3], "datatype": "FP32", "data": pixels}
        for answer in (
            asked(gateway, {"instances": pixels}, "/v1/models/anysize:predict"),
            asked(gateway, {"inputs": [described]}, "/v2/models/anysize/infer"),
        ):
            assert answer.status_code == 400, answer.text
            assert f"must be of shape (n, 4, 6, 3), not (2, {height}, {width}, 3)" in answer.json()["error"]
    assert model_server.batch_sizes == []
    good = asked(gateway, {"instances": np.ones((2, 4, 6, 3)).tolist()}, "/v1/models/anysize:predict")
    assert good.status_code == 200, good.text


def test_status_and_metadata_have_the_real_servers_form(arithmetic: httpx.Client) -> None:
    one = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = arithmetic.get("/v1/models/sums").json()
    assert both == {"model_version_status": [{"version": "2", **one}, {"version": "1", **one}]}
    for path in ("versions/1", "labels/stable"):
        answer = arithmetic.get(f"/v1/models/sums/{path}").json()
        assert answer == {"model_version_status": [{"version": "1", **one}]}
    assert arithmetic.get("/v1/models/sums/versions/9").status_code == 404
    described = arithmetic.get("/v1/models/sums/versions/1/metadata").json()
    assert described["model_spec"] == {"name": "sums", "signature_name": "", "version": "1"}
    assert described["metadata"]["signature_def"]["signature_def"]["sum"]["inputs"]["a"] == {
        "dtype": "DT_INT32",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "",
    }


def test_a_version_that_goes_away_meanwhile_is_followed(gateway: httpx.Client, model_server: ColourServer) -> None:
    for version in range(1, 30):
        model_server.models["sums"] = {version: Arithmetic()}  # type: ignore[dict-item]
        answer = asked(gateway, {"inputs": [[1, 2]]})
        assert (answer.status_code, answer.headers.get("x-model-version")) == (200, str(version))
