"""What a client is told, code by code, with and without batching, by both engines."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from testing.modelserver import Client, Server, request
from testing.polling import DEADLINE_SECONDS

IMAGES = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), str(caught.value.details())


def test_the_newest_version_answers_and_is_named(every: Server) -> None:
    response = every.client.send(request("demo", "", {"images": IMAGES}))
    assert response.model_spec.version.value == 2
    assert response.model_spec.name == "demo"
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"probabilities", "brightest"}
    expected = IMAGES.astype(np.float32).mean(axis=(1, 2)) * 2
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected, rtol=1e-6)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["brightest"]), [2, 2])


def test_a_version_can_be_chosen_by_number_or_by_label(every: Server) -> None:
    assert every.client.version_that_answers("demo", version=1) == 1
    assert every.client.version_that_answers("demo", label="stable") == 1
    assert every.client.version_that_answers("demo") == 2


def test_a_refusal_that_quotes_bytes_is_invalid_argument(either: Server) -> None:
    code, details = refused(lambda: either.client.predict("demo", "scalar", {"x": np.array(b"\x89PNG", object)}))
    assert (code, details) == (INVALID, "StringToNumberOp could not correctly convert string: \ufffdPNG")


def test_an_output_filter_chooses_outputs(every: Server) -> None:
    message = request("demo", "pixels", {"images": IMAGES})
    message.output_filter.append("brightest")
    assert list(every.client.send(message).outputs) == ["brightest"]


def test_encoded_images_are_decoded_by_the_model(either: Server) -> None:
    answer = either.client.predict("demo", "encoded", {"image_bytes": np.array([jpeg()] * 3, dtype=object)})
    np.testing.assert_allclose(answer["brightness"].astype(np.float32), 200, atol=3)


def test_answers_come_as_lists_or_as_raw_bytes(servers: dict[str, Server]) -> None:
    message = request("demo", "pixels", {"images": IMAGES})
    raw = servers["plain"].client.send(message).outputs["probabilities"]
    listed = servers["batching"].client.send(message).outputs["probabilities"]
    assert raw.tensor_content
    assert not raw.float_val
    assert len(listed.float_val) == 6
    assert not listed.tensor_content


def test_a_short_list_repeats_its_last_value_and_an_empty_one_is_zeros(either: Server) -> None:
    message = request("demo", "batch", {"x": np.zeros((2, 3), np.float32)})
    proto = message.inputs["x"]
    proto.Clear()
    proto.dtype = tf.float32.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape((2, 3)).as_proto())
    assert list(tf.make_ndarray(either.client.send(message).outputs["sum"])) == [0, 0]
    proto.float_val.extend([1, 2])
    assert list(tf.make_ndarray(either.client.send(message).outputs["sum"])) == [5, 6]


def spec(name: str = "demo", **choice: object) -> predict_pb2.PredictRequest:
    return request(name, "pixels", {"images": IMAGES}, **choice)  # type: ignore[arg-type]


def nameless() -> predict_pb2.PredictRequest:
    message = spec()
    message.model_spec.name = ""
    return message


def without_spec() -> predict_pb2.PredictRequest:
    message = spec()
    message.ClearField("model_spec")
    return message


def unparsable() -> predict_pb2.PredictRequest:
    message = spec()
    message.inputs["images"].tensor_content = b"too short"
    return message


def filtered(*outputs: str) -> predict_pb2.PredictRequest:
    message = spec()
    message.output_filter.extend(outputs)
    return message


def pixels(**inputs: object) -> predict_pb2.PredictRequest:
    return request("demo", "pixels", inputs)


REFUSALS = {
    "unknown model": (spec("nope"), NOT_FOUND, "Servable not found for request: Latest(nope)"),
    "unknown version": (spec(version=77), NOT_FOUND, "Servable not found for request: Specific(demo, 77)"),
    "unknown label": (spec(label="gold"), INVALID, "Unrecognized servable version label: gold"),
    "label ahead": (spec(label="ahead"), NOT_FOUND, "Servable not found for request: Specific(demo, 7)"),
    "unknown signature": (
        request("demo", "nope", {"images": IMAGES}),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    "no spec": (without_spec(), INVALID, "Missing ModelSpec"),
    "no name": (nameless(), INVALID, "ModelSpec has no name specified."),
    "wrong input name": (
        pixels(image=IMAGES),
        INVALID,
        "Signature input alias: images(pixels_images:0) not found in request and no default value provided. ",
    ),
    "extra input": (
        pixels(images=IMAGES, extra=IMAGES),
        INVALID,
        "input size does not match signature: 2!=1 len({extra,images}) != len({images}). Sent extra: {extra}. ",
    ),
    "no input": (pixels(), INVALID, "input size does not match signature: 0!=1 len({}) != len({images})."),
    "wrong dtype": (
        pixels(images=IMAGES.astype(np.float32)),
        INVALID,
        "Expects arg[0] to be uint8 but float is provided",
    ),
    "wrong rank": (pixels(images=IMAGES[0]), INVALID, "Input images must have rank 4, shape [?,4,6,3]; rank 3, "),
    "wrong height": (pixels(images=IMAGES[:, :3]), INVALID, "must have shape [?,4,6,3]; [2,3,6,3] was sent"),
    "wrong channels": (pixels(images=IMAGES[..., :1]), INVALID, "must have shape [?,4,6,3]; [2,4,6,1] was sent"),
    "no rows": (pixels(images=IMAGES[:0]), INVALID, "Input images is empty: shape [0,4,6,3]"),
    "unparsable": (unparsable(), INVALID, "tensor parsing error: images"),
    "unknown output": (filtered("nope"), INVALID, "output tensor alias not found in signature: nope "),
    "repeated output": (filtered("brightest", "brightest"), INVALID, "duplicate output tensor alias: brightest"),
}
BAD_IMAGES = {
    "not an image": (b"hello", "Unknown image file format. One of JPEG, "),
    "truncated JPEG": (jpeg()[:300], "jpeg::Uncompress failed. Invalid JPEG data or crop window."),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_bad_request_gets_the_code_and_message_of_tensorflow_serving(every: Server, case: str) -> None:
    message, code, text = REFUSALS[case]
    actual_code, details = refused(lambda: every.client.send(message))
    assert actual_code is code
    assert text in details
    assert "{{node" not in details


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_gets_the_code_and_message_of_tensorflow_serving(either: Server, case: str) -> None:
    data, text = BAD_IMAGES[case]
    message = request("demo", "encoded", {"image_bytes": np.array([data], dtype=object)})
    code, details = refused(lambda: either.client.send(message))
    assert code is INVALID
    assert text in details
    assert "{{node" not in details


def test_a_tensor_too_large_to_be_meant_is_refused_before_it_is_filled_in(either: Server) -> None:
    message = request("demo", "batch", {"x": np.zeros((1, 1), np.float32)})
    message.inputs["x"].tensor_shape.CopyFrom(tf.TensorShape((10**6, 10**6)).as_proto())
    message.inputs["x"].tensor_content = b""
    code, details = refused(lambda: either.client.send(message))
    assert code is INVALID
    assert "too large" in details


def test_a_long_message_is_cut(every: Server) -> None:
    _, details = refused(lambda: every.client.send(request("demo", "s" * 3000, {"images": IMAGES})))
    assert len(details) == 1024
    assert details.endswith("...TRUNCATED")


def test_a_method_that_is_not_served_is_unimplemented(every: Server) -> None:
    call = every.client.prediction.Classify
    code, _ = refused(lambda: call(classification_pb2.ClassificationRequest(), timeout=DEADLINE_SECONDS))
    assert code is grpc.StatusCode.UNIMPLEMENTED


def status_request(**spec: object) -> get_model_status_pb2.GetModelStatusRequest:
    message = get_model_status_pb2.GetModelStatusRequest()
    for name, value in spec.items():
        setattr(message.model_spec, name, value)
    return message


def test_the_status_lists_every_version_newest_first(every: Server) -> None:
    entries = every.client.status("demo").model_version_status
    assert [(entry.version, entry.state) for entry in entries] == [(2, 30), (1, 30)]
    assert all(entry.HasField("status") and entry.status.error_code == 0 for entry in entries)


def test_the_status_of_one_version_can_be_asked(every: Server) -> None:
    assert [entry.version for entry in every.client.status("demo", 1).model_version_status] == [1]


def test_the_status_ignores_a_label(every: Server) -> None:
    answer = every.client.model.GetModelStatus(
        status_request(name="demo", version_label="gold"), timeout=DEADLINE_SECONDS
    )
    assert len(answer.model_version_status) == 2


def test_the_status_of_what_is_not_served_is_not_found(every: Server) -> None:
    client: Client = every.client
    assert refused(lambda: client.status("nope")) == (NOT_FOUND, "Could not find any versions of model nope")
    assert refused(lambda: client.status("demo", 77)) == (NOT_FOUND, "Could not find version 77 of model demo")


def test_the_metadata_holds_the_signatures(every: Server) -> None:
    answer = every.client.metadata("demo", "signature_def")
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("demo", 2)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    images = signatures.signature_def["pixels"].inputs["images"]
    assert images.dtype == tf.uint8.as_datatype_enum
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 4, 6, 3]


def test_metadata_needs_a_field_that_exists(every: Server) -> None:
    client: Client = every.client
    assert refused(lambda: client.metadata("demo")) == (
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    assert refused(lambda: client.metadata("demo", "zzz")) == (INVALID, "Metadata field zzz is not supported")
    assert refused(lambda: client.metadata("nope", "signature_def"))[0] is NOT_FOUND


@pytest.mark.parametrize("every", ["plain", "openvino"], indirect=True)
def test_sixty_four_callers_at_once_are_all_answered(every: Server) -> None:
    client = every.client
    calls = [client.prediction.Predict.future(spec(), timeout=DEADLINE_SECONDS) for _ in range(64)]
    assert all(len(call.result().outputs) == 2 for call in calls)


def test_a_model_of_functions_without_variables_answers(serve: Callable[..., Server], tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": tf.function(lambda x: -x)(x)})
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "model" / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    server = serve("--model_name=model", f"--model_base_path={tmp_path / 'model'}")
    answer = server.client.predict("model", "", {"x": np.array([1, 2], np.float32)})
    assert answer["y"].tolist() == [-1, -2]
