"""The REST interface beside the model server's own gRPC, as tensorflow-serving-api speaks it, on a real SavedModel."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.modelserver import Server
from testing.polling import DEADLINE_SECONDS


class Mixed(tf.Module):  # type: ignore[misc]
    """Signatures with numbers, truth values, texts and bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.as_string(tf.argmax(x, axis=1))
        return {"y": x / 3.0, "best": text, "raw_bytes": text, "rank": tf.argsort(x), "over": x > 0.5}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, 2, 2, 3], tf.uint8, name="images"),
            tf.TensorSpec([None], tf.string, name="tag"),
        ]
    )
    def mix(self, images: tf.Tensor, tag: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float64), axis=[1, 2, 3]), "tag": tag}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a model server with one model, ``mixed``."""
    folder = tmp_path_factory.mktemp("models")
    model = Mixed()
    signatures = {"serving_default": model.serve, "mix": model.mix}
    tf.saved_model.save(model, str(folder / "mixed" / "3"), signatures=signatures)
    server = Server("--model_name=mixed", f"--model_base_path={folder / 'mixed'}")
    try:
        yield server.address
    finally:
        server.close()


@pytest.fixture(scope="module")
def gateway(serving: str) -> Iterator[httpx.Client]:
    with running_gateway(Settings.model_validate({"serving_target": serving, "default_model": "mixed"})) as client:
        yield client


@pytest.fixture(scope="module")
def stub(serving: str) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(serving) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


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


def same(given: object, wanted: object) -> bool:
    """Value by value, float32 formatting aside."""
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict) and given.keys() == wanted.keys() and all(same(given[k], wanted[k]) for k in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(given, list) and len(given) == len(wanted) and all(map(same, given, wanted))
    if isinstance(wanted, float):
        return isinstance(given, float) and bool(np.isclose(given, wanted, rtol=1e-6, atol=0))
    return type(given) is type(wanted) and given == wanted


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
    wanted = {name: as_json(name, array) for name, array in over_grpc(stub, key, inputs).items()}
    columns = {name: as_json(name, array) for name, array in inputs.items()}
    answer = gateway.post("/v1/models/mixed:predict", content=json.dumps({"signature_name": key, "inputs": columns}))
    assert same(answer.json(), {"outputs": wanted}), answer.text
    rows = [{name: column[index] for name, column in columns.items()} for index in range(2)]  # type: ignore[index]
    answer = gateway.post(
        "/v1/models/mixed/versions/3:predict", content=json.dumps({"signature_name": key, "instances": rows})
    )
    expected = [{name: column[index] for name, column in wanted.items()} for index in range(2)]  # type: ignore[index]
    assert same(answer.json(), {"predictions": expected}), answer.text


def test_metadata_says_what_grpc_says(
    gateway: httpx.Client, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "mixed"
    packed = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=DEADLINE_SECONDS).metadata["signature_def"].Unpack(packed)
    given = gateway.get("/v1/models/mixed/metadata").json()["metadata"]["signature_def"]["signature_def"]
    signatures = {key: one for key, one in packed.signature_def.items() if not key.startswith("__saved_model_")}
    assert given.keys() == signatures.keys()
    for key, signature in signatures.items():
        for side in ("inputs", "outputs"):
            for name, info in getattr(signature, side).items():
                one = given[key][side][name]
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
