"""Arrays become the messages that a model server is sent, and its answers become arrays again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from gateway.errors import InvalidTensor, ModelServerFailed, SignatureMissing
from gateway.pb.serving_pb2 import DataType, PredictResponse, SignatureDef, SignatureDefMap, Tensor
from gateway.tensors.messages import Inputs, SignatureRules, Signatures, read_outputs
from gateway.tensors.wire import Array, array_of
from testing.colour_server import signature
from testing.tensors import number_tensor

PIXELS = signature({"images": (DataType.DT_UINT8, (-1, 8, 8, 3))}, {"probabilities": (DataType.DT_FLOAT, (-1, 3))})
OPEN = signature({"x": (DataType.DT_FLOAT, (-1, -1, -1, 3))}, {"y": (DataType.DT_FLOAT, (-1, 3))})
ENCODED = signature({"images": (DataType.DT_STRING, (-1,))}, {"y": (DataType.DT_FLOAT, (-1, 3))})
IMAGE_BYTES = 8 * 8 * 3
RULES = SignatureRules(max_rows=64, row_keys=["pixels"], max_message_bytes=7 * IMAGE_BYTES - 1)


def checked_inputs(signature: SignatureDef, key: str, arrays: Mapping[str, Array], rules: SignatureRules) -> Inputs:
    return Signatures(SignatureDefMap(signature_def={key: signature}), key, rules).inputs(key, arrays)


def test_rows_that_are_answered_by_themselves_go_in_several_messages() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (14, 8, 8, 3), np.uint8)
    inputs = checked_inputs(PIXELS, "pixels", {"images": pixels}, RULES)
    assert inputs.rows == [6, 6, 2]
    arrays = [array_of(Tensor.FromString(b"".join(tensor)), max_elements=10**6) for tensor in inputs.tensors]
    np.testing.assert_array_equal(np.concatenate(arrays), pixels)


def test_rows_of_a_signature_that_nobody_vouches_for_go_in_one_message() -> None:
    pixels = np.zeros((14, 8, 8, 3), np.uint8)
    assert checked_inputs(PIXELS, "other", {"images": pixels}, RULES).rows == [14]


def test_more_rows_than_the_limit_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="65 rows exceed the limit of 64"):
        checked_inputs(PIXELS, "pixels", {"images": np.zeros((65, 8, 8, 3), np.uint8)}, RULES)


def test_pixels_are_held_to_the_size_that_the_gateway_sends() -> None:
    rules = replace(RULES, pixel_shapes={"pixels": (4, 6, 3)}, pixel_input="x")
    assert checked_inputs(OPEN, "pixels", {"x": np.zeros((2, 4, 6, 3), np.float32)}, rules).rows == [2]
    with pytest.raises(InvalidTensor, match=r"must be of shape \(n, 4, 6, 3\)"):
        checked_inputs(OPEN, "pixels", {"x": np.zeros((2, 6, 4, 3), np.float32)}, rules)


def test_encoded_images_are_handed_over_to_be_decoded() -> None:
    array = np.empty(2, np.object_)
    array[:] = [b"one", b"two"]
    inputs = checked_inputs(ENCODED, "key", {"images": array}, replace(RULES, image_inputs={"key": "images"}))
    assert (inputs.images, inputs.shape, inputs.tensors) == ([b"one", b"two"], (2,), [])


def test_a_missing_signature_is_named_with_those_there_are() -> None:
    signatures = Signatures(SignatureDefMap(signature_def={"pixels": PIXELS}), "pixels", RULES)
    assert signatures.find("pixels") == PIXELS
    with pytest.raises(SignatureMissing, match=r"not found\. There is 'pixels'"):
        signatures.find("nope")


def answer(**outputs: np.ndarray) -> bytes:
    return PredictResponse(outputs={name: number_tensor(array) for name, array in outputs.items()}).SerializeToString()


def test_the_answers_of_several_messages_are_joined() -> None:
    first, second = np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)
    outputs = read_outputs([answer(y=first), answer(y=second)], [2, 1])
    np.testing.assert_array_equal(outputs["y"], np.concatenate([first, second]))


@pytest.mark.parametrize("extra", [np.full(1, 7, np.float32), np.float32(7), np.zeros((3, 2), np.float32)])
def test_an_output_that_is_no_row_for_each_image_is_not_joined(extra: np.ndarray) -> None:
    extra = np.asarray(extra)
    rows = np.ones((2, 3), np.float32)
    assert set(read_outputs([answer(y=rows, extra=extra)], [2])) == {"y", "extra"}
    with pytest.raises(ModelServerFailed, match="did not return one row for each image"):
        read_outputs([answer(y=rows, extra=extra)] * 2, [2, 2])


def test_an_answer_that_cannot_be_read_is_the_model_servers_failure() -> None:
    with pytest.raises(ModelServerFailed):
        read_outputs([b"\xff\xff"], [1])
