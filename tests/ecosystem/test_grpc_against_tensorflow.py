"""The gateway's gRPC port beside the model server behind it, both called by tensorflow-serving-api's own stubs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from gateway.app import create_app
from gateway.settings import Settings
from testing.gateway import FORK_SERVER, running_gateway
from testing.polling import DEADLINE_SECONDS
from tests.ecosystem.test_rest_against_tensorflow import CASES, over_grpc

Predictions: Any = prediction_service_pb2_grpc.PredictionServiceStub


@pytest.fixture(scope="module")
def channel(serving: str) -> Iterator[grpc.Channel]:
    values = {"serving_target": serving, "default_model": "mixed", "grpc_port": 0, "request_timeout_seconds": 60}
    settings = Settings.model_validate(values)
    app = create_app(settings, fork_server=FORK_SERVER)
    with running_gateway(settings, app), grpc.insecure_channel(f"127.0.0.1:{app.state.grpc_port}") as channel:
        yield channel


@pytest.mark.parametrize("key", CASES)
def test_the_same_request_has_the_same_answer(channel: grpc.Channel, stub: Any, key: str) -> None:
    direct, through = over_grpc(stub, key, CASES[key]), over_grpc(Predictions(channel), key, CASES[key])
    assert direct.keys() == through.keys()
    for name, array in direct.items():
        assert through[name].dtype == array.dtype
        assert np.array_equal(through[name], array) or np.allclose(through[name], array, rtol=1e-6)


def refused(stub: Any, request: predict_pb2.PredictRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request, timeout=DEADLINE_SECONDS)
    code: grpc.StatusCode = error.value.code()
    return code


def predict_request(model: str, key: str, **inputs: np.ndarray) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, key
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_refusals_have_the_same_code(channel: grpc.Channel, stub: Any) -> None:
    row = np.zeros((1, 3), np.float32)
    labelled, versioned, filtered = (predict_request("mixed", "serving_default", x=row) for _ in range(3))
    labelled.model_spec.version_label = "nope"
    versioned.model_spec.version.value = 77
    filtered.output_filter.append("nope")
    cases = [
        predict_request("nope", "serving_default", x=row),
        labelled,
        versioned,
        filtered,
        predict_request("mixed", "nope", x=row),
        predict_request("mixed", "serving_default", y=row),
        predict_request("mixed", "serving_default", x=row.astype(np.int32)),
        predict_request("", "serving_default", x=row),
    ]
    through = Predictions(channel)
    assert [refused(through, case) for case in cases] == [refused(stub, case) for case in cases]


def test_a_wrong_rank_is_refused_before_it_reaches_the_model(channel: grpc.Channel) -> None:
    request = predict_request("mixed", "serving_default", x=np.zeros(3, np.float32))
    assert refused(Predictions(channel), request) is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_and_status_are_those_of_the_model_server(channel: grpc.Channel, serving: str) -> None:
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "mixed"
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "mixed"
    described, states = [], []
    with grpc.insecure_channel(serving) as direct:
        for one in (direct, channel):
            answer = Predictions(one).GetModelMetadata(metadata, timeout=DEADLINE_SECONDS)
            packed = get_model_metadata_pb2.SignatureDefMap()
            assert answer.metadata["signature_def"].Unpack(packed)
            described.append(dict(packed.signature_def))
            states.append(model_service_pb2_grpc.ModelServiceStub(one).GetModelStatus(status, timeout=DEADLINE_SECONDS))
    assert described[1] == {key: one for key, one in described[0].items() if not key.startswith("__saved_model_")}
    assert states[0] == states[1]
