"""The REST interface beside the model server's own gRPC, as tensorflow-serving-api speaks it, on a real SavedModel."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.polling import DEADLINE_SECONDS


@pytest.fixture(scope="module")
def gateway(serving: str) -> Iterator[httpx.Client]:
    values = {"serving_target": serving, "default_model": "mixed", "request_timeout_seconds": 60}
    with running_gateway(Settings.model_validate(values)) as client:
        yield client


def over_grpc(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, key: str, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "mixed", key
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return {
        name: tf.make_ndarray(tensor)
        for name, tensor in stub.Predict(request, timeout=DEADLINE_SECONDS).outputs.items()
    }


def as_json(name: str, array: np.ndarray) -> object:
    """What TensorFlow Serving writes for an output."""
    if array.dtype != object:
        return array.tolist()
    texts = [one.decode() for one in array.tolist()]
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(one.encode()).decode()} for one in texts]
    return texts


def same(value: object, expected: object) -> bool:
    """Value by value, float32 formatting aside."""
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[k], expected[k]) for k in expected)
        )
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, float):
        return isinstance(value, float) and bool(np.isclose(value, expected, rtol=1e-6, atol=0))
    return type(value) is type(expected) and value == expected


CASES: dict[str, dict[str, np.ndarray]] = {
    "serving_default": {"x": np.array([[0.1, 0.7, 0.2], [3, 1, 2]], np.float32)},
    "mix": {
        "images": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3),
        "tag": np.array([b"first", b"second"], np.object_),
    },
}


@pytest.mark.parametrize("key", CASES)
def test_rows_and_columns_answer_what_grpc_answers(
    gateway: httpx.Client, stub: prediction_service_pb2_grpc.PredictionServiceStub, key: str
) -> None:
    inputs = CASES[key]
    reference = {name: as_json(name, array) for name, array in over_grpc(stub, key, inputs).items()}
    columns = {name: as_json(name, array) for name, array in inputs.items()}
    answer = gateway.post("/v1/models/mixed:predict", content=json.dumps({"signature_name": key, "inputs": columns}))
    assert same(answer.json(), {"outputs": reference}), answer.text
    rows = [{name: column[index] for name, column in columns.items()} for index in range(2)]  # type: ignore[index]
    answer = gateway.post(
        "/v1/models/mixed/versions/3:predict", content=json.dumps({"signature_name": key, "instances": rows})
    )
    expected = [{name: column[index] for name, column in reference.items()} for index in range(2)]  # type: ignore[index]
    assert same(answer.json(), {"predictions": expected}), answer.text


def test_metadata_says_what_grpc_says(
    gateway: httpx.Client, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "mixed"
    packed = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=DEADLINE_SECONDS).metadata["signature_def"].Unpack(packed)
    metadata = gateway.get("/v1/models/mixed/metadata").json()["metadata"]["signature_def"]["signature_def"]
    signatures = {key: one for key, one in packed.signature_def.items() if not key.startswith("__saved_model_")}
    assert metadata.keys() == signatures.keys()
    for key, signature in signatures.items():
        for side in ("inputs", "outputs"):
            for name, info in getattr(signature, side).items():
                one = metadata[key][side][name]
                assert one["name"] == info.name
                assert one["dtype"] == types_pb2.DataType.Name(info.dtype)
                assert [int(dim["size"]) for dim in one["tensor_shape"]["dim"]] == [
                    dim.size for dim in info.tensor_shape.dim
                ]


def test_a_wrong_rank_leaves_the_server_alive(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/models/mixed:predict", content=b'{"instances": [1, 2, 3]}')
    assert answer.status_code == 400
    assert "must be of shape (n, 3), not (3)" in answer.json()["error"]
    assert gateway.post("/v1/models/mixed:predict", content=b'{"instances": [[1, 2, 3]]}').status_code == 200
