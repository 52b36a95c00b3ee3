from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import cast

import httpx
import numpy as np
import pytest

from gateway.pb.serving_pb2 import DataType
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer, ForeignModel, Model
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from tests.gateway.http.routes.arithmetic import Arithmetic

Start = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def server() -> Iterator[ColourServer]:
    plain = ForeignModel({"x": (DataType.DT_FLOAT, (-1, 2))}, {"y": (DataType.DT_FLOAT, (-1, 2))}, doubled)
    models: dict[str, dict[int, Model]] = {
        "colours": {1: ColourModel(), 2: ColourModel()},
        "doubler": {4: plain},
        "sums": {1: cast(Model, Arithmetic())},
    }
    server = ColourServer(models=models)
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def client(server: ColourServer) -> Iterator[httpx.Client]:
    values = {"serving_target": server.address, "default_model": "colours"}
    settings = Settings.model_validate({**values, "request_timeout_seconds": 60})  # a busy machine is slow
    with running_gateway(settings) as client:
        yield client


def doubled(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * 2, np.float32)


def infer(client: httpx.Client, body: object, path: str = "/v2/models/doubler/infer") -> httpx.Response:
    return client.post(path, content=json.dumps(body))


def tensor(data: object, shape: list[int], datatype: str = "FP32", name: str = "x") -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_health_and_metadata(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/models/colours/ready").json() == {"name": "colours", "ready": True}
    assert client.get("/v2/models/colours/versions/1/ready").status_code == 200
    assert client.get("/v2/models/colours/versions/9/ready").status_code == 404
    assert client.get("/v2/models/doubler/versions/4").json() == {
        "name": "doubler",
        "versions": ["4"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    described = client.get("/v2/models/colours").json()
    assert described["versions"] == ["1", "2"]
    assert described["inputs"] == [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}]


def test_a_server_whose_model_is_missing_is_live_but_not_ready(start: Start) -> None:
    gateway = start(models="absent")
    assert gateway.get("/v2/health/live").status_code == 200
    answer = gateway.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})


def test_what_is_known_of_a_model_does_not_make_it_ready(start: Start, address: str) -> None:
    other = ColourServer(models={"colours": {1: ColourModel()}})
    ready = ("/v2/models/colours/ready", "/v2/models/colours/versions/1/ready")
    with other.serving(address):
        gateway = start(serving_target=address, model_refresh_seconds=3600)
        for path in (*ready, "/v1/models/colours/metadata"):
            assert gateway.get(path).status_code == 200

    def answers() -> list[int]:
        return [gateway.get(path).status_code for path in ready]

    until(lambda: answers() == [503, 503])
    assert gateway.get(ready[0]).json() == {"name": "colours", "ready": False}
    until(lambda: gateway.get("/v1/models/colours/metadata").status_code == 503)
    with other.serving(address):
        until(lambda: answers() == [200, 200])
        other.models["colours"] = {}
        until(lambda: answers() == [503, 503])
        other.models = {}
        until(lambda: answers() == [404, 404])


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_tensors_are_taken_flat_or_nested(client: httpx.Client, data: object) -> None:
    answer = infer(client, {"id": "42", "inputs": [tensor(data, [2, 2])]})
    assert answer.json() == {
        "model_name": "doubler",
        "model_version": "4",
        "id": "42",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 8.0]}],
    }
    assert answer.headers["x-model-version"] == "4"


def test_any_signature_can_be_named(client: httpx.Client) -> None:
    inputs = [tensor([1], [1], "INT32", "a"), tensor([2], [1], "INT64", "b")]
    body = {"parameters": {"signature_name": "sum"}, "inputs": inputs, "outputs": [{"name": "less"}]}
    answer = infer(client, body, "/v2/models/sums/infer")
    assert answer.json()["outputs"] == [{"name": "less", "datatype": "BOOL", "shape": [1], "data": [True]}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": []}, "inputs"),
        ({}, "inputs"),
        ([], "infer request"),
        ({"inputs": [tensor([1, 2, 3], [1, 2])]}, "declares the shape [1, 2], but its data has the shape [3]"),
        ({"inputs": [tensor([1, 2, 3], [3])]}, "must be of shape (n, 2), not (3)"),
        ({"inputs": [tensor([1, 2], [1, 1, 2])]}, "must be of shape (n, 2)"),
        ({"inputs": [tensor([1, 2], [-1, 2])]}, "negative dimension"),
        ({"inputs": [tensor([1, 2], [1, 2], "FP64")]}, "is of type float, not float64"),
        ({"inputs": [tensor([1, 2], [1, 2], "BF16")]}, "accepted are"),
        ({"inputs": [tensor(["a", "b"], [1, 2])]}, "does not hold a string"),
        ({"inputs": [tensor(None, [1, 2])]}, "neither data nor binary_data_size"),
        ({"inputs": [tensor([1, 2], [1, 2]), tensor([1, 2], [1, 2])]}, "occurs twice"),
        ({"inputs": [tensor([1, 2], [1, 2], name="z")]}, "must be 'x'"),
        ({"inputs": [tensor([1, 2], [1, 2])], "outputs": [{"name": "z"}]}, "no output 'z'"),
        (
            {"inputs": [tensor([1, 2], [1, 2])], "outputs": [{"name": "y", "parameters": {"classification": 1}}]},
            "'classification' is not supported",
        ),
        ({"inputs": [tensor([1, 2], [1, 2]) | {"parameters": {"binary_data_size": 8}}]}, "no valid binary_data_size"),
    ],
)
def test_what_is_not_of_the_protocol_is_told(client: httpx.Client, body: object, words: str) -> None:
    answer = infer(client, body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert words in answer.json()["error"]


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
@pytest.mark.parametrize("fields", [{"data": []}, {"parameters": {"binary_data_size": 0}}])
@pytest.mark.parametrize("shape", [[0, 2**63], [2**64, 0], [0] + [2**31 - 1] * 3])
def test_an_empty_tensor_of_a_size_that_no_array_has_is_400(
    client: httpx.Client, shape: list[int], fields: dict[str, object], datatype: str
) -> None:
    described = {"name": "x", "shape": shape, "datatype": datatype} | fields
    answer = infer(client, {"inputs": [described]})
    if "data" not in fields:
        head = json.dumps({"inputs": [described]}).encode()
        headers = {"inference-header-content-length": str(len(head))}
        answer = client.post("/v2/models/doubler/infer", content=head, headers=headers)
    assert (answer.status_code, list(answer.json())) == (400, ["error"]), answer.text


@pytest.mark.parametrize("length", ["-1", "x", "99999", "9" * 5000])
def test_a_header_length_that_cannot_be_is_400(client: httpx.Client, length: str) -> None:
    headers = {"inference-header-content-length": length}
    assert client.post("/v2/models/doubler/infer", content=b"{}", headers=headers).status_code == 400


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0abc", b"\x01\0\0\0a\x01\0\0\0b", b"\xff\xff\xff\xffa"])
def test_binary_strings_that_contradict_their_lengths_are_400(client: httpx.Client, content: bytes) -> None:
    described = {"name": "i", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    head = json.dumps({"inputs": [described]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    answer = client.post("/v2/models/colours/infer", content=head + content, headers=headers)
    assert answer.status_code == 400, answer.text


def image(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_encoded_images_are_decoded_by_the_gateway(client: httpx.Client) -> None:
    data = [image(photo("red", encoding="WebP")), image(photo("blue"))]
    body = {"parameters": {"top_k": 2}, "inputs": [tensor(data, [2], "BYTES", "image")]}
    answer = infer(client, body, "/v2/models/colours/versions/1/infer")
    assert answer.status_code == 200, answer.text
    classes, scores = answer.json()["outputs"]
    assert (classes["shape"], scores["shape"]) == ([2, 2], [2, 2])
    assert classes["data"][::2] == ["red", "blue"]
    assert min(scores["data"][::2]) > 0.8
    assert answer.json()["model_version"] == "1"


@pytest.mark.parametrize(
    ("content", "status"), [(b"no image", 415), (photo()[:-40], 422), (b"", 422)]
)  # fmt: skip
def test_a_broken_image_is_told_and_never_sent(
    client: httpx.Client, server: ColourServer, content: bytes, status: int
) -> None:
    server.batch_sizes.clear()
    answer = infer(client, {"inputs": [tensor([image(content)], [1], "BYTES", "i")]}, "/v2/models/colours/infer")
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert server.batch_sizes == []


@pytest.mark.parametrize("name", [1, ["pixels"], "p" * 70_000])
def test_a_signature_is_named_by_a_string_that_is_one(client: httpx.Client, name: object) -> None:
    body = {"parameters": {"signature_name": name}, "inputs": [tensor([[1.0, 2.0]], [1, 2])]}
    answer = infer(client, body)
    assert answer.status_code in (400, 404), answer.text
    assert "ignature" in answer.json()["error"]


def test_an_unknown_model_is_404(client: httpx.Client) -> None:
    assert infer(client, {"inputs": [tensor([1], [1])]}, "/v2/models/nope/infer").status_code == 404
