from __future__ import annotations

from collections.abc import Callable

import grpc
import httpx
import numpy as np
import pytest

from gateway.pb import serving_pb2 as pb
from gateway.tensors.wire import number_array
from testing.colour_scores import COLOURS
from testing.colour_server import ColourModel, ColourServer
from testing.grpc_calls import METADATA, PREDICT, STATUS, predict_request, refusal, send
from testing.photos import photo
from testing.tensors import number_tensor, string_tensor

Start = Callable[..., tuple[httpx.Client, grpc.Channel]]

PIXELS = np.stack([np.full((8, 8, 3), np.eye(3, dtype=np.uint8)[index] * 255, np.uint8) for index in range(3)])


def pixels_request(pixels: np.ndarray = PIXELS, version: int | str | None = None) -> pb.PredictRequest:
    request = predict_request("colours", version, "pixels")
    request.inputs["images"].CopyFrom(number_tensor(pixels))
    return request


def doubler_request(values: np.ndarray) -> pb.PredictRequest:
    request = predict_request("doubler")
    request.inputs["x"].CopyFrom(number_tensor(values))
    return request


def predicted(channel: grpc.Channel, request: pb.PredictRequest) -> pb.PredictResponse:
    return pb.PredictResponse.FromString(send(channel, PREDICT, request)[0])


@pytest.mark.parametrize(("version", "answered"), [(None, 2), (1, 1), ("stable", 1)])
def test_pixels_are_predicted_by_the_version_that_is_asked_for(
    channel: grpc.Channel, version: int | str | None, answered: int
) -> None:
    response = predicted(channel, pixels_request(version=version))
    scores = number_array(response.outputs["probabilities"], max_elements=9)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    assert (response.model_spec.name, response.model_spec.version.value) == ("colours", answered)


def test_the_answer_names_its_version_and_request_in_trailing_metadata(channel: grpc.Channel) -> None:
    _, trailing = send(channel, PREDICT, pixels_request(), (("x-request-id", "mine"),))
    assert trailing["x-request-id"] == "mine"
    assert trailing["x-model-version"] == "2"
    assert "predict;dur=" in trailing["server-timing"]


def test_values_may_stand_in_typed_lists_that_repeat_the_last_one(channel: grpc.Channel) -> None:
    request = predict_request("doubler")
    request.inputs["x"].dtype = pb.DT_FLOAT
    for size in (2, 2):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].float_val.extend([1, 5])
    answer = number_array(predicted(channel, request).outputs["y"], max_elements=4)
    assert answer.tolist() == [[2, 10], [10, 10]]


def test_encoded_images_reach_the_model_as_files_that_the_gateway_wrote(channel: grpc.Channel) -> None:
    request = predict_request("encoded")
    request.inputs["image_bytes"].CopyFrom(string_tensor([photo(colour, encoding="WEBP") for colour in COLOURS]))
    scores = number_array(predicted(channel, request).outputs["scores"], max_elements=9)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]


def test_an_image_that_cannot_be_decoded_never_reaches_the_model(channel: grpc.Channel, server: ColourServer) -> None:
    request = predict_request("encoded")
    request.inputs["image_bytes"].CopyFrom(string_tensor([photo("red"), photo("green")[:60]]))
    sent = len(server.batch_sizes)
    code, _, trailing = refusal(channel, PREDICT, request)
    assert (code, trailing["x-error-code"]) == ("INVALID_ARGUMENT", "invalid_image")
    assert len(server.batch_sizes) == sent


def test_only_the_outputs_that_are_asked_for_come_back(channel: grpc.Channel) -> None:
    request = pixels_request()
    request.model_spec.signature_name = "explain"
    request.output_filter.append("heatmap")
    assert list(predicted(channel, request).outputs) == ["heatmap"]


def test_a_large_request_is_split_and_its_answers_are_joined(start: Start, server: ColourServer) -> None:
    side = 512
    server.models["large"] = {1: ColourModel(height=side, width=side)}
    pixels = np.repeat(np.repeat(PIXELS, side // 8, axis=1), side // 8, axis=2)
    request = predict_request("large", None, "pixels")
    request.inputs["images"].CopyFrom(number_tensor(np.concatenate([pixels, pixels, pixels])))
    before = len(server.batch_sizes)
    response = predicted(start()[1], request)
    assert len(server.batch_sizes) - before > 1
    scores = number_array(response.outputs["probabilities"], max_elements=27)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2] * 3
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("large", 1, "pixels")


def without_name() -> pb.PredictRequest:
    request = pixels_request()
    request.model_spec.name = ""
    return request


def filtered(*names: str) -> pb.PredictRequest:
    request = pixels_request()
    request.output_filter.extend(names)
    return request


def expanding(sizes: tuple[int, ...], dtype: pb.DataType = pb.DT_FLOAT) -> pb.PredictRequest:
    request = predict_request("encoded" if dtype == pb.DT_STRING else "doubler")
    tensor = request.inputs["image_bytes" if dtype == pb.DT_STRING else "x"]
    tensor.dtype = dtype
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    if dtype == pb.DT_STRING:
        tensor.string_val.append(photo("red"))
    return request


def out_of_range() -> pb.PredictRequest:
    request = predict_request("colours", None, "pixels")
    tensor = request.inputs["images"]
    tensor.dtype = pb.DT_UINT8
    for size in (1, 8, 8, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.int_val.append(300)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_request("nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (predict_request("no/pe"), "NOT_FOUND", "Servable not found for request: Latest(no/pe)"),
        (pixels_request(version=77), "NOT_FOUND", "Servable not found for request: Specific(colours, 77)"),
        (pixels_request(version=-1), "NOT_FOUND", "Servable not found for request: Specific(colours, -1)"),
        (pixels_request(version="no"), "INVALID_ARGUMENT", "Unrecognized servable version label: no"),
        (pixels_request(version=""), "INVALID_ARGUMENT", "Unrecognized servable version label: "),
        (pb.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (without_name(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict_request("colours", None, "no"), "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
        (predict_request("doubler"), "INVALID_ARGUMENT", "The inputs must be 'x', not none."),
        (doubler_request(np.zeros((1, 3), np.float32)), "INVALID_ARGUMENT", "must be of shape (n, 2), not (1, 3)"),
        (doubler_request(np.zeros(2, np.float32)), "INVALID_ARGUMENT", "must be of shape (n, 2), not (2)"),
        (doubler_request(np.zeros((1, 2), np.int32)), "INVALID_ARGUMENT", "is of type float, not int32"),
        (doubler_request(np.zeros((999, 2), np.float32)), "INVALID_ARGUMENT", "exceed the limit of 32 rows"),
        (filtered("no"), "INVALID_ARGUMENT", "output tensor alias not found in signature: no"),
        (filtered(*["probabilities"] * 2), "INVALID_ARGUMENT", "duplicate output tensor alias: probabilities"),
        (expanding((2**20, 2**20)), "INVALID_ARGUMENT", "The input 'x' has too many elements."),
        (expanding((10**6, 200)), "RESOURCE_EXHAUSTED", "The tensors are larger than 33,554,432 bytes."),
        (expanding((10**8,), pb.DT_STRING), "RESOURCE_EXHAUSTED", "The tensors are larger than 33,554,432 bytes."),
        (expanding((-1, 2)), "INVALID_ARGUMENT", "The input 'x' has a negative dimension."),
        (expanding((1,) * 40), "INVALID_ARGUMENT", "at most 16 whole numbers"),
        (out_of_range(), "INVALID_ARGUMENT", "The input 'images' has a number out of the range of uint8."),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cannot_be_answered_has_the_code_and_the_words_of_the_real_server(
    channel: grpc.Channel, request_: pb.PredictRequest, code: str, message: str
) -> None:
    actual, details, _ = refusal(channel, PREDICT, request_)
    assert actual == code, details
    assert message in details


def metadata_request(*fields: str, model: str = "doubler") -> pb.ModelMetadataRequest:
    request = pb.ModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    return request


def test_metadata_has_the_signatures(channel: grpc.Channel) -> None:
    answer, _ = send(channel, METADATA, metadata_request("signature_def"))
    response = pb.ModelMetadataResponse.FromString(answer)
    assert (response.model_spec.name, response.model_spec.version.value) == ("doubler", 4)
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = pb.SignatureDefMap.FromString(packed.value).signature_def
    assert list(signatures["serving_default"].inputs) == ["x"]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (metadata_request(), "INVALID_ARGUMENT", "must specify at least one metadata_field"),
        (metadata_request("zzz"), "INVALID_ARGUMENT", "Metadata field zzz is not supported"),
        (metadata_request("signature_def", model="nope"), "NOT_FOUND", "nope"),
        (metadata_request("x" * 70_000), "RESOURCE_EXHAUSTED", "larger than the limit of 65,536 bytes"),
    ],
)
def test_metadata_that_is_not_offered_is_refused(
    channel: grpc.Channel, request_: pb.ModelMetadataRequest, code: str, message: str
) -> None:
    actual, details, _ = refusal(channel, METADATA, request_)
    assert actual == code
    assert message in details


def test_status_lists_every_version_or_the_one_that_is_asked_for(channel: grpc.Channel, server: ColourServer) -> None:
    server.failed_versions["colours"] = {3: "cannot read /secret/path"}
    request = pb.ModelStatusRequest()
    request.model_spec.name = "colours"
    states = pb.ModelStatusResponse.FromString(send(channel, STATUS, request)[0]).model_version_status
    available = [one.version for one in states if one.state == pb.ModelVersionStatus.AVAILABLE]
    assert available == [2, 1]
    assert [one.status.error_message for one in states if one.version == 3] == ["See the log of the model server."]
    request.model_spec.version.value = 1
    [state] = pb.ModelStatusResponse.FromString(send(channel, STATUS, request)[0]).model_version_status
    assert state.version == 1
    for name, version, message in (
        ("nope", None, "Could not find any versions of model nope"),
        ("colours", 77, "Could not find version 77 of model colours"),
    ):
        request = pb.ModelStatusRequest(model_spec=predict_request(name, version).model_spec)
        assert refusal(channel, STATUS, request)[:2] == ("NOT_FOUND", message)
