"""Calls of the gateway's gRPC port with the gateway's own messages."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message

from gateway.pb import serving_pb2 as pb
from testing.polling import DEADLINE_SECONDS

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
INFER = "/inference.GRPCInferenceService/ModelInfer"
HEALTH = "/grpc.health.v1.Health/Check"


def send(
    channel: grpc.Channel,
    path: str,
    message: Message | bytes,
    metadata: tuple[tuple[str, str], ...] = (),
    timeout: float = DEADLINE_SECONDS,
) -> tuple[bytes, dict[str, str]]:
    """The serialised response of a call, and its trailing metadata."""
    content = message if isinstance(message, bytes) else message.SerializeToString()
    answer, call = method(channel, path).with_call(content, timeout=timeout, metadata=metadata)
    return answer, trailing(call)


def method(channel: grpc.Channel, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes and returns serialised messages."""
    return channel.unary_unary(path)


def trailing(call: grpc.Call) -> dict[str, str]:
    """The trailing metadata of a call."""
    return {key: str(value) for key, value in call.trailing_metadata() or ()}


def refusal(
    channel: grpc.Channel,
    path: str,
    message: Message | bytes,
    metadata: tuple[tuple[str, str], ...] = (),
    timeout: float = DEADLINE_SECONDS,
) -> tuple[str, str, dict[str, str]]:
    """Code, details and trailing metadata of a call that is refused.

    Raises:
        AssertionError: It is answered.
    """
    content = message if isinstance(message, bytes) else message.SerializeToString()
    call = method(channel, path).future(content, timeout=timeout, metadata=metadata)
    assert call.code() is not grpc.StatusCode.OK, "the call was answered"
    return call.code().name, call.details() or "", trailing(call)


def predict_request(model: str, version: int | str | None = None, signature: str = "") -> pb.PredictRequest:
    """A PredictRequest without inputs, for the newest version, one by number or one by label."""
    request = pb.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if isinstance(version, int):
        request.model_spec.version.value = version
    elif version is not None:
        request.model_spec.version_label = version
    return request
