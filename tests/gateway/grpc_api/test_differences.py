"""Where the gRPC port differs from the real server's: just as the second table in docs/compatibility.md says."""

from __future__ import annotations

import re
from collections.abc import Callable

import grpc
import httpx
import numpy as np
import pytest

from gateway.pb import serving_pb2 as pb
from testing import ROOT
from testing.colour_server import ColourServer
from testing.grpc_calls import METADATA, PREDICT, method, predict_request, refusal, send
from testing.polling import DEADLINE_SECONDS
from testing.tensors import number_tensor, string_tensor
from tests.gateway.exports import BFLOAT16, FLOAT, IMAGES, SCORES, Export, plain

Start = Callable[..., tuple[httpx.Client, grpc.Channel]]

Check = Callable[[grpc.Channel, ColourServer, Start], None]


def doubler(*shape: int) -> pb.PredictRequest:
    request = predict_request("doubler")
    request.inputs["x"].CopyFrom(number_tensor(np.zeros(shape or (1, 2), np.float32)))
    return request


def bookkeeping(channel: grpc.Channel, server: ColourServer, _: Start) -> None:
    server.models["m"] = {1: Export(IMAGES, SCORES, plain(), key="predict")}  # type: ignore[dict-item]
    request = pb.ModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    packed = pb.ModelMetadataResponse.FromString(send(channel, METADATA, request)[0]).metadata["signature_def"].value
    assert list(pb.SignatureDefMap.FromString(packed).signature_def) == ["predict"]


def other_inputs(channel: grpc.Channel, server: ColourServer, _: Start) -> None:
    missing, unknown, other = (predict_request("doubler") for _ in range(3))
    unknown.inputs["z"].CopyFrom(number_tensor(np.zeros((1, 2), np.float32)))
    other.inputs["x"].CopyFrom(string_tensor([b"a", b"b"], (1, 2)))
    server.batch_sizes.clear()
    for request, words in (
        (missing, "The inputs must be 'x', not none."),
        (unknown, "The inputs must be 'x', not 'z'."),
        (other, "The input 'x' is of type float, not string."),
    ):
        assert refusal(channel, PREDICT, request)[:2] == ("INVALID_ARGUMENT", words)
    assert server.batch_sizes == []


def bfloat16_inputs(channel: grpc.Channel, server: ColourServer, _: Start) -> None:
    numbers = Export({"x": (BFLOAT16, (-1,))}, {"y": (FLOAT, (-1,))}, plain())
    server.models["brain"] = {1: numbers}  # type: ignore[dict-item]
    request = predict_request("brain")
    request.inputs["x"].dtype = pb.DT_BFLOAT16
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].half_val.append(0x3F80)
    words = "The input 'x' is of type bfloat16, which the gateway cannot send."
    assert refusal(channel, PREDICT, request)[:2] == ("INVALID_ARGUMENT", words)


def refused_by_the_model(channel: grpc.Channel, server: ColourServer, _: Start) -> None:
    send(channel, PREDICT, doubler())  # the model is known from now on
    server.refusal = grpc.StatusCode.FAILED_PRECONDITION, "Could not find variable"
    try:
        error = refusal(channel, PREDICT, doubler())
    finally:
        server.refusal = None
    assert error[:2] == ("INVALID_ARGUMENT", "Could not find variable")


def short_lists(channel: grpc.Channel, _: ColourServer, __: Start) -> None:
    for rows, code in ((2, None), (10**7, "RESOURCE_EXHAUSTED")):
        request = predict_request("doubler")
        request.inputs["x"].dtype = pb.DT_FLOAT
        request.inputs["x"].float_val.append(3)
        for size in (rows, 2):
            request.inputs["x"].tensor_shape.dim.add(size=size)
        if code is None:
            assert pb.PredictResponse.FromString(send(channel, PREDICT, request)[0]).outputs
        else:
            assert refusal(channel, PREDICT, request)[0] == code


def many_dimensions(channel: grpc.Channel, _: ColourServer, __: Start) -> None:
    assert refusal(channel, PREDICT, doubler(*(1,) * 17))[0] == "INVALID_ARGUMENT"


def compressed(channel: grpc.Channel, _: ColourServer, __: Start) -> None:
    call = method(channel, PREDICT).future(
        doubler(30, 2).SerializeToString(), timeout=DEADLINE_SECONDS, compression=grpc.Compression.Gzip
    )
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED


def other_methods(channel: grpc.Channel, _: ColourServer, __: Start) -> None:
    for path in (
        "PredictionService/Classify",
        "PredictionService/Regress",
        "PredictionService/MultiInference",
        "ModelService/HandleReloadConfigRequest",
    ):
        assert refusal(channel, f"/tensorflow.serving.{path}", b"")[0] == "UNIMPLEMENTED"


def limits(_: grpc.Channel, server: ColourServer, start: Start) -> None:
    channel = start(max_tensor_body_bytes=100_000, max_images_in_flight=2, max_batch_images=1)[1]
    for request in (bytes(3_000_000), doubler(9, 2)):
        assert refusal(channel, PREDICT, request)[0] == "RESOURCE_EXHAUSTED"
    send(channel, PREDICT, doubler())
    server.stalled.set()
    try:
        assert refusal(channel, PREDICT, doubler(), timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    finally:
        server.stalled.clear()


DIFFERENCES: dict[str, Check] = {
    "`GetModelMetadata`": bookkeeping,
    "an input that is missing, unknown or of another type": other_inputs,
    "an input of type bfloat16": bfloat16_inputs,
    "a request that the model refuses with `FAILED_PRECONDITION`": refused_by_the_model,
    "a tensor whose list is shorter than its shape": short_lists,
    "a tensor of more than 16 dimensions": many_dimensions,
    "a compressed message": compressed,
    "`Classify`, `Regress`, `MultiInference`, `HandleReloadConfigRequest`": other_methods,
    "limits": limits,
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_grpc_port_differs_as_the_documentation_says(
    channel: grpc.Channel, server: ColourServer, start: Start, difference: str
) -> None:
    DIFFERENCES[difference](channel, server, start)


def test_the_table_of_differences_over_grpc_is_complete() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    [table] = re.findall(r"\| over gRPC \|.*?\n\|---.*?\n(.*?)\n\n", text, re.DOTALL)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == list(DIFFERENCES)
