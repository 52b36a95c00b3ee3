"""Triton's gRPC client as it is published, and what it cannot send."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from gateway.pb import open_inference_pb2 as pb
from testing.colour_scores import COLOURS
from testing.grpc_calls import INFER, refusal, send
from testing.photos import photo


@pytest.fixture
def triton(address: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address) as triton:
        yield triton


def test_triton_health_and_metadata(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("colours")
    assert triton.is_model_ready("colours", "2")
    assert not triton.is_model_ready("colours", "7")
    assert not triton.is_model_ready("nope")
    assert triton.get_server_metadata().name == "breed-gateway"
    metadata = triton.get_model_metadata("doubler")
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("x", "FP32", [-1, 2])]
    assert (list(metadata.versions), metadata.platform) == (["4"], "tensorflow_savedmodel")
    assert [one.name for one in triton.get_model_metadata("colours", "1").outputs] == ["classes", "scores"]


def test_triton_tensors(triton: InferenceServerClient) -> None:
    infer_input = InferInput("x", [3, 2], "FP32")
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    infer_input.set_data_from_numpy(values)
    for outputs in (None, [InferRequestedOutput("y")]):
        result = triton.infer("doubler", [infer_input], outputs=outputs, request_id="7")
        assert np.array_equal(result.as_numpy("y"), values * 2)
        assert result.get_response().id == "7"
        assert result.get_response().model_version == "4"


def test_triton_images_as_bytes_and_as_pixels(triton: InferenceServerClient) -> None:
    infer_input = InferInput("image_bytes", [3], "BYTES")
    infer_input.set_data_from_numpy(np.array([photo(colour) for colour in COLOURS], np.object_))
    result = triton.infer("colours", [infer_input], model_version="2", parameters={"top_k": 2})
    assert result.as_numpy("classes")[:, 0].tolist() == [colour.encode() for colour in COLOURS]
    assert result.as_numpy("scores").shape == (3, 2)
    pixels = InferInput("images", [1, 8, 8, 3], "UINT8")
    pixels.set_data_from_numpy(np.full((1, 8, 8, 3), (255, 0, 0), np.uint8))
    assert triton.infer("colours", [pixels]).as_numpy("probabilities").argmax() == 0
    request = InferInput("request", [1], "INT32")
    request.set_data_from_numpy(np.zeros(1, np.int32))
    [card] = triton.infer("colours", [request], parameters={"signature_name": "describe"}).as_numpy("card")
    assert b"Knows three colours." in card


def test_a_refusal_is_tritons_own_exception(triton: InferenceServerClient) -> None:
    pixels = InferInput("images", [1, 8], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 8), np.uint8))
    with pytest.raises(InferenceServerException, match="must be of shape") as refused:
        triton.infer("colours", [pixels])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def infer_request(
    model: str = "doubler", datatype: str = "FP32", shape: tuple[int, ...] = (1, 2)
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


def test_values_may_stand_in_the_list_of_their_datatype(channel: grpc.Channel) -> None:
    request = infer_request()
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    response = pb.ModelInferResponse.FromString(send(channel, INFER, request)[0])
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [2, 4]
    images = pb.ModelInferRequest(model_name="colours")
    images.inputs.add(name="any", datatype="BYTES", shape=[1]).contents.bytes_contents.append(photo("blue"))
    response = pb.ModelInferResponse.FromString(send(channel, INFER, images)[0])
    assert response.raw_output_contents[0][4:8] == b"blue"


def raw(request: pb.ModelInferRequest, *contents: bytes) -> pb.ModelInferRequest:
    request.raw_input_contents.extend(contents)
    return request


def with_numbers(datatype: str, *values: int) -> pb.ModelInferRequest:
    request = infer_request(datatype=datatype, shape=(1, len(values)))
    request.inputs[0].contents.int_contents.extend(values)
    return request


def with_parameters(request: pb.ModelInferRequest, **parameters: object) -> pb.ModelInferRequest:
    for name, value in parameters.items():
        kind = {str: "string_param", int: "int64_param", bool: "bool_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def versioned(version: str) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="doubler", model_version=version)


def wanting(name: str, **parameters: str) -> pb.ModelInferRequest:
    request = raw(infer_request(), bytes(8))
    output = request.outputs.add(name=name)
    for key, value in parameters.items():
        output.parameters[key].string_param = value
    return request


def image_request(content: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="colours")
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(content)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (pb.ModelInferRequest(), "NOT_FOUND", "The model '' does not exist."),
        (infer_request("nope"), "NOT_FOUND", "The model 'nope' does not exist."),
        (versioned("7"), "NOT_FOUND", "has no version 7"),
        (versioned("x"), "INVALID_ARGUMENT", "The version of the model must be a whole number."),
        (versioned("4"), "INVALID_ARGUMENT", "The request must have 1 to 64 inputs"),
        (infer_request(), "INVALID_ARGUMENT", "has 0 values in fp32_contents for shape [1, 2]"),
        (infer_request(datatype="FP16"), "INVALID_ARGUMENT", "use raw_input_contents"),
        (infer_request(datatype="COMPLEX"), "INVALID_ARGUMENT", "is of datatype 'COMPLEX'"),
        (with_numbers("INT8", 300, 1), "INVALID_ARGUMENT", "out of the range of INT8"),
        (with_numbers("INT8", 1, 1), "INVALID_ARGUMENT", "is of type float, not int8"),
        (infer_request(shape=(-1, 2)), "INVALID_ARGUMENT", "has a negative dimension"),
        (infer_request(shape=(1,) * 17), "INVALID_ARGUMENT", "at most 16 whole numbers"),
        (raw(infer_request(), b"123"), "INVALID_ARGUMENT", "has 3 bytes for shape [1, 2]"),
        (
            raw(infer_request(), bytes(8), bytes(8)),
            "INVALID_ARGUMENT",
            "has 2 elements for 1 inputs",
        ),
        (raw(infer_request(shape=(0, 2)), b""), "INVALID_ARGUMENT", "is empty"),
        (with_parameters(raw(infer_request(), bytes(8)), signature_name="no"), "FAILED_PRECONDITION", "not found"),
        (with_parameters(raw(infer_request(), bytes(8)), signature_name=1), "INVALID_ARGUMENT", "must be a string"),
        (wanting("z"), "INVALID_ARGUMENT", "There is no output 'z'"),
        (wanting("y", classification="3"), "INVALID_ARGUMENT", "'classification' is not supported"),
        (image_request(b"GIF"), "INVALID_ARGUMENT", "image"),
        (with_parameters(image_request(photo("red")), top_k=0), "INVALID_ARGUMENT", "top_k must be an integer from 1"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cannot_be_answered_says_why(
    channel: grpc.Channel, request_: pb.ModelInferRequest, code: str, message: str
) -> None:
    actual, details, _ = refusal(channel, INFER, request_)
    assert actual == code, details
    assert message in details
